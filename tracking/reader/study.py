"""A study on an MLflow server: its parent run, and its trials in the server's order."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal, cast

from study.config.hyperparameters import Scalar, Setting
from study.config.search_config import Mode, Objective
from study.records import StopReason, StudySummary, TrialRecord, TrialState
from tracking.client.artifacts import CHECKPOINT
from tracking.client.client import Run
from tracking.content.encoding import of_ranges, plain_name, safe_name
from tracking.content.tags_and_metrics import INTERRUPTED
from tracking.reader.rest_client import Reader
from tracking.reader.top_trials import TopQuery, top_trials
from tracking.tracking_uri import local_path

BEST = "best."
_SEEDS = "study.seeds"
_KIND, _TRIAL = "study.kind", "trial"
_OLDEST_FIRST = "attributes.start_time ASC"
_NUMBERS = re.compile(r"\(((?:\d+, )*(?:\d+,?)?)\)")
_OBJECTIVES = re.compile(r", (?=max |min )")


@dataclass(frozen=True)
class ServerFilter:
    """A condition that MLflow's filters support: on a param or tag that is a text, or on a metric that is a number.

    A metric is that of the selected epoch.
    """

    kind: Literal["param", "tag", "metric"]
    name: str
    sign: str
    value: str | float

    def text(self) -> str:
        """Return the condition as MLflow's filters spell it."""
        if self.kind == "metric":
            most, value = sys.float_info.max, self.value if isinstance(self.value, int) else float(self.value)
            value = float(max(-most, min(most, value)))  # as MLflow stores infinity; an int may be larger still
            number = repr(value).replace("e+", "e")  # MLflow does not parse the plus
            return f"metrics.`{safe_name(BEST + self.name)}` {self.sign} {number}"
        return f"{self.kind}s.`{self.name}` {self.sign} '{self.value}'"


class ServedStudy:
    """One study on a server, read lazily: the constructor gets its parent run alone."""

    def __init__(self, reader: Reader, parent: Run) -> None:
        self._reader = reader
        self.parent = parent

    @property
    def name(self) -> str:
        """The study's name."""
        return self.parent.tags.get("study.name", "")

    @cached_property
    def objective_list(self) -> tuple[Objective, ...]:
        """The objectives; the first one selects epochs."""
        text = self.parent.params.get("study.objectives", "")
        pairs = [objective.split(" ", 1) for objective in _OBJECTIVES.split(text) if " " in objective]
        if not pairs:
            pairs = [[self.parent.params.get("study.mode", "max"), self.parent.params.get("study.metric", "")]]
        return tuple(Objective(metric=metric, mode=cast(Mode, mode)) for mode, metric in pairs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the replicates, one per replicate."""
        return seeds_of(self.parent)

    @cached_property
    def has_replicates(self) -> bool:
        """Whether its points have several trials; without a tag of all seeds, whether a second replicate exists."""
        if len(self.seeds) > 1 or _SEEDS in self.parent.tags:
            return len(self.seeds) > 1
        return next(self.trials(wanted=[ServerFilter("tag", "study.replicate", "=", "1")], limit=1), None) is not None

    @property
    def design(self) -> str:
        """The kind of design."""
        return self.parent.params.get("study.design", "search")

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its data."""
        return self.parent.tags.get("study.data_fingerprint", "")

    @property
    def class_counts(self) -> dict[str, tuple[int, ...]]:
        """The number of images of each class by set, in the order of the classes; empty if not recorded."""
        text = self.parent.tags.get("study.class_counts")
        return {images: tuple(counts) for images, counts in json.loads(text).items()} if text else {}

    @cached_property
    def summary(self) -> StudySummary:
        """The study's row in a list of studies."""
        run = self.parent
        running = self._count_running() if run.status == "RUNNING" else 0
        ended = [int(run.metrics.get(f"trials.{word}", 0)) for word in ("complete", "pruned", "failed")]
        first = self.objective_list[0]
        return StudySummary(
            name=self.name,
            state=run.tags.get("study.state", ""),
            trials=max(int(run.metrics.get("trials.started", 0)), sum(ended) + running),
            complete=ended[0],
            pruned=ended[1],
            failed=ended[2],
            running=running,
            planned=int(run.tags.get("study.planned", 0)),
            metric=first.metric,
            mode=first.mode,
            best=run.metrics.get(safe_name(BEST + first.metric)),
            created_at_s=run.start_ms / 1000,
        )

    def trials(
        self,
        metric: str | None = None,
        mode: Mode | None = None,
        wanted: Sequence[ServerFilter] = (),
        limit: int | None = None,
    ) -> Iterator[TrialRecord]:
        """Yield its trials that meet conditions, without their epochs, fetched page by page.

        They are ordered by a metric at the selected epoch, ties by val_loss, trials without it last; by their start, in
        the same millisecond by their number, if it is None.
        """
        order = [_OLDEST_FIRST]
        if metric is not None:
            keys = {safe_name(BEST + metric): "ASC" if mode == "min" else "DESC"}
            keys.setdefault(f"{BEST}val_loss", "ASC")
            order = [*(f"metrics.`{key}` {word}" for key, word in keys.items()), _OLDEST_FIRST]
        # Other people may log runs below a study's. With a limit the server must leave them out; without one, leaving
        # them out here saves a quarter of its time.
        own = () if limit is None else (ServerFilter("tag", _KIND, "=", _TRIAL),)
        where = " and ".join([self._of_parent, *(condition.text() for condition in (*own, *wanted))])
        runs = self._reader.search([self.parent.experiment_id], where, order, limit)
        own_runs = (run for run in runs if _is_trial(run))
        if metric is not None:
            yield from map(self.record_of, own_runs)
            return
        for _, began_together in groupby(own_runs, key=lambda run: run.start_ms):
            yield from sorted(map(self.record_of, began_together), key=lambda record: record.trial)

    def record_of(self, run: Run) -> TrialRecord:
        """Return the record of a trial from its run, as far as MLflow has it."""
        return record_of(run, self.name, self.objective_list[0].metric, self._kept)

    def best(
        self,
        metric: str,
        mode: Mode,
        count: int,
        is_ranked: Callable[[TrialRecord], bool],
        wanted: Sequence[ServerFilter] = (),
    ) -> list[TrialRecord]:
        """Return trials that include the ``count`` best ones that meet conditions, in no order.

        Where fewer are ranked it returns all of them.
        """

        def fetch(bound: float | None, limit: int | None) -> Iterator[TrialRecord]:
            sign = ">=" if mode == "max" else "<="
            more = () if bound is None else (ServerFilter("metric", metric, sign, bound),)
            return self.trials(wanted=(*wanted, *more), limit=limit)

        own = self.objective_list[0].metric == metric and self.objective_list[0].mode == mode
        known = self.summary.best if own else None
        return top_trials(TopQuery(metric, mode, count, is_ranked), fetch, self.summary.trials, known)

    @cached_property
    def _kept(self) -> frozenset[int] | None:
        """Trials whose weights were on disk when the study ended; None while it runs or if an old version wrote it."""
        text = self.parent.tags.get("study.kept")
        return of_ranges(text) if text and self.parent.tags.get("study.state") != "running" else None

    @property
    def _of_parent(self) -> str:
        return f"tags.`mlflow.parentRunId` = '{self.parent.id}'"

    def _count_running(self) -> int:
        where = f"{self._of_parent} and attributes.status = 'RUNNING'"
        return sum(map(_is_trial, self._reader.search([self.parent.experiment_id], where)))


def seeds_of(parent: Run) -> tuple[int, ...]:
    """Return the seeds of a study's replicates, from the tag if there is one: a param keeps its first value."""
    return tuple(int(seed) for seed in (parent.tags.get(_SEEDS) or parent.params.get(_SEEDS, "")).split())


def record_of(run: Run, study: str, objective: str, kept: frozenset[int] | None = None) -> TrialRecord:
    """Return the record of a trial from its run, as far as MLflow has it; ``kept`` are trials that have weights."""
    tags, searched = run.tags, run.tags.get("study.searched", "").split()
    config = {plain_name(name): _setting(text) for name, text in run.params.items()}
    best = {plain_name(key.removeprefix(BEST)): value for key, value in run.metrics.items() if key.startswith(BEST)}
    epoch = best.pop("epoch", None)
    checkpoint = _checkpoint(run)
    reason, busy = tags.get("study.stop_reason"), tags.get("study.busy_s")
    return TrialRecord(
        study=study,
        trial=int(tags["study.trial"]),
        state=_state(tags.get("study.state", "")),
        params={name: value for name in searched if isinstance(value := config.get(name), Scalar)},
        config=config,
        seed=int(tags.get("study.seed", 0)),
        point=int(tags.get("study.point", 0)),
        replicate=int(tags.get("study.replicate", 0)),
        stop_reason=StopReason(reason) if reason else None,
        value=best.get(objective),
        epoch=None if epoch is None else int(epoch),
        epochs_run=int(tags.get("study.epochs_run", 0)),
        metrics=best,
        checkpoint=checkpoint,
        kept=None if kept is None or checkpoint is None else int(tags["study.trial"]) in kept,
        busy_s=None if busy is None else float(busy),
        run_id=run.id,
        started_at_s=run.start_ms / 1000,
        finished_at_s=None if run.end_ms is None else run.end_ms / 1000,
        attempts=int(tags.get("study.attempts", 1)),
        error=tags.get("study.error"),
    )


def _is_trial(run: Run) -> bool:
    return run.tags.get(_KIND) == _TRIAL


def _state(text: str) -> TrialState:
    return TrialState.WAITING if text == INTERRUPTED else TrialState(text)


def _checkpoint(run: Run) -> str | None:
    """Return the checkpoint's folder, or MLflow's URI of it if it is on another machine."""
    if run.tags.get("study.checkpoint") is None:
        return None
    folder = local_path(run.artifact_uri)
    return f"runs:/{run.id}/{CHECKPOINT}" if folder is None else str(folder / CHECKPOINT)


def _setting(text: str) -> Setting:
    """Parse the value of a param, which MLflow stores as text."""
    numbers = _NUMBERS.fullmatch(text)
    return _scalar(text) if numbers is None else tuple(int(number) for number in numbers[1].split(",") if number)


def _scalar(text: str) -> Scalar:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if str(value) == text else text
    return text

"""A study as an MLflow server has it: what its parent run says, and its trials in the server's order."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    """A demand that MLflow's filters understand: a param or tag that is a text, or a metric beside a number.

    A metric is that of the selected epoch.
    """

    kind: Literal["param", "tag", "metric"]
    name: str
    sign: str
    value: str | float

    def text(self) -> str:
        """Return it in MLflow's words."""
        if self.kind == "metric":
            most, value = sys.float_info.max, self.value if isinstance(self.value, int) else float(self.value)
            value = float(max(-most, min(most, value)))  # as MLflow keeps infinity; an int may be larger still
            number = repr(value).replace("e+", "e")  # it does not read the plus
            return f"metrics.`{safe_name(BEST + self.name)}` {self.sign} {number}"
        return f"{self.kind}s.`{self.name}` {self.sign} '{self.value}'"


class ServedStudy:
    """One study on a server; nothing but its parent run is read before it is asked for."""

    def __init__(self, reader: Reader, parent: Run) -> None:
        self._reader = reader
        self.parent = parent

    @property
    def name(self) -> str:
        """Its name."""
        return self.parent.tags.get("study.name", "")

    @cached_property
    def objective_list(self) -> tuple[Objective, ...]:
        """Its objectives, the one that selects epochs first."""
        told = self.parent.params.get("study.objectives", "")
        pairs = [one.split(" ", 1) for one in _OBJECTIVES.split(told) if " " in one]
        if not pairs:
            pairs = [[self.parent.params.get("study.mode", "max"), self.parent.params.get("study.metric", "")]]
        return tuple(Objective(metric=metric, mode=cast(Mode, mode)) for mode, metric in pairs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its replicates, one per replicate."""
        return seeds_of(self.parent)

    @cached_property
    def has_replicates(self) -> bool:
        """Whether its points have several trials; where only the first seeds were told, a trial says so."""
        if len(self.seeds) > 1 or _SEEDS in self.parent.tags:
            return len(self.seeds) > 1
        return next(self.trials(wanted=[ServerFilter("tag", "study.replicate", "=", "1")], limit=1), None) is not None

    @property
    def design(self) -> str:
        """The kind of its design."""
        return self.parent.params.get("study.design", "search")

    @property
    def fingerprint(self) -> str:
        """That of its data."""
        return self.parent.tags.get("study.data_fingerprint", "")

    @property
    def class_counts(self) -> dict[str, tuple[int, ...]]:
        """Its images of each class by set, in the order of the classes; nothing where nobody told."""
        told = self.parent.tags.get("study.class_counts")
        return {images: tuple(counts) for images, counts in json.loads(told).items()} if told else {}

    @cached_property
    def summary(self) -> StudySummary:
        """One line about it."""
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
        """Yield its trials, without their epochs, page by page as they are taken.

        Args:
            metric: order by its value at the selected epoch, equals by val_loss, those without one last; None orders
                by start.
            mode: whether more or less of it is better.
            wanted: what they all must have.
            limit: how many at most.
        """
        order = [_OLDEST_FIRST]
        if metric is not None:
            keys = {safe_name(BEST + metric): "ASC" if mode == "min" else "DESC"}
            keys.setdefault(f"{BEST}val_loss", "ASC")
            order = [*(f"metrics.`{key}` {word}" for key, word in keys.items()), _OLDEST_FIRST]
        # Anybody may put runs below that of a study. The server leaves them out where it counts for us; where it sends
        # all, it would take a fourth longer for that.
        own = () if limit is None else (ServerFilter("tag", _KIND, "=", _TRIAL),)
        where = " and ".join([self._of_parent, *(one.text() for one in (*own, *wanted))])
        found = self._reader.search([self.parent.experiment_id], where, order, limit)
        yield from (self.record_of(run) for run in found if _is_trial(run))

    def record_of(self, run: Run) -> TrialRecord:
        """Return the record that a trial's run was made from, as far as MLflow keeps it."""
        return record_of(run, self.name, self.objective_list[0].metric, self._kept)

    def best(
        self,
        metric: str,
        mode: Mode,
        count: int,
        fits: Callable[[TrialRecord], bool],
        wanted: Sequence[ServerFilter] = (),
    ) -> list[TrialRecord]:
        """Return trials among which are the best ones, in no order; all of them where fewer fit than are wanted.

        Args:
            metric: what they are compared by, at the selected epoch.
            mode: whether more or less of it is better.
            count: how many.
            fits: whether a trial has a place at all.
            wanted: what they all must have.
        """

        def fetch(bound: float | None, limit: int | None) -> Iterator[TrialRecord]:
            sign = ">=" if mode == "max" else "<="
            more = () if bound is None else (ServerFilter("metric", metric, sign, bound),)
            return self.trials(wanted=(*wanted, *more), limit=limit)

        own = self.objective_list[0].metric == metric and self.objective_list[0].mode == mode
        known = self.summary.best if own else None
        return top_trials(TopQuery(metric, mode, count, fits), fetch, self.summary.trials, known)

    @cached_property
    def _kept(self) -> frozenset[int] | None:
        """The trials whose weights were there at the end; nobody knows while it runs, nor of one that an older sent."""
        told = self.parent.tags.get("study.kept")
        return of_ranges(told) if told and self.parent.tags.get("study.state") != "running" else None

    @property
    def _of_parent(self) -> str:
        return f"tags.`mlflow.parentRunId` = '{self.parent.id}'"

    def _count_running(self) -> int:
        where = f"{self._of_parent} and attributes.status = 'RUNNING'"
        return sum(map(_is_trial, self._reader.search([self.parent.experiment_id], where)))


def seeds_of(parent: Run) -> tuple[int, ...]:
    """Return the seeds of a study's replicates: as its tag has them, since a param stays what it was at first."""
    return tuple(int(one) for one in (parent.tags.get(_SEEDS) or parent.params.get(_SEEDS, "")).split())


def record_of(run: Run, study: str, objective: str, kept: frozenset[int] | None = None) -> TrialRecord:
    """Return the record that a trial's run was made from, as far as MLflow keeps it.

    Args:
        run: the run.
        study: the study's name.
        objective: what selects its epochs.
        kept: the trials whose weights are there, None where that is not known.
    """
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
    """Return the checkpoint's folder, or a ``runs:/`` URI for ``fetch_checkpoint`` when it lies elsewhere."""
    if run.tags.get("study.checkpoint") is None:
        return None
    folder = local_path(run.artifact_uri)
    return f"runs:/{run.id}/{CHECKPOINT}" if folder is None else str(folder / CHECKPOINT)


def _setting(text: str) -> Setting:
    """Return the value a param was before MLflow made it a text."""
    numbers = _NUMBERS.fullmatch(text)
    return _scalar(text) if numbers is None else tuple(int(one) for one in numbers[1].split(",") if one)


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

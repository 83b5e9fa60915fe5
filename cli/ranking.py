"""Rank a study's trials and configurations, or those of several studies, for the commands that need a winner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.field_getters import Seeds, configuration_fields, require_filter, require_metric, trial_fields
from cli.studies import StudyHandle, StudyOnServer, open_study
from study.analysis.ranking import (
    Configuration,
    RankedTrial,
    has_checkpoint,
    is_candidate,
    rank_configurations,
    rank_trials,
)
from study.analysis.trial_filter import FIELDS, Comparison, TrialFilter
from study.analysis.trial_filter.expression import And, Expression, LiteralValue, Name
from study.config.hyperparameters import TrialConfig
from study.config.search_config import Mode, Objective
from study.errors import StudyStorageError, UsageError
from study.metrics import METRICS, TEST_PREFIX, VAL_PREFIX, metric_named, shifted_sets
from study.records import FinalLook, TrialRecord, TrialState

if TYPE_CHECKING:
    from tracking.reader.study import ServedStudy, ServerFilter


@dataclass(frozen=True)
class Ranking:
    """The ranking of one study, or of several together.

    ``configurations`` are its points, ranked by the mean over their ``replicates``, where there is more than one;
    ``seeds`` are theirs, empty where unknown. ``objective_list`` are its objectives where several rank together,
    ``metric`` and ``mode`` then those of the first. ``baseline`` is the point that those of a one-factor design differ
    from.
    ``class_counts`` are the images of each class in the set the metric is about, empty where unknown.
    ``total`` counts the trials there are, of which ``rows`` may be only the first, or those that match ``where``.
    ``is_part`` says that more than ``rows`` may match ``where``. ``looks`` are those at the test images.
    """

    study: str
    metric: str
    mode: Mode
    rows: list[RankedTrial]
    class_counts: tuple[int, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    replicates: int = 1
    seeds: tuple[int, ...] = ()
    objective_list: tuple[Objective, ...] = ()
    baseline: int | None = None
    studies: tuple[str, ...] = ()
    total: int | None = None
    where: str | None = None
    notes: tuple[str, ...] = ()
    seeds_of_studies: Seeds | None = None
    looks: tuple[FinalLook, ...] = ()
    is_part: bool = False

    @property
    def base(self) -> Configuration | None:
        """The configuration that others are to be compared with, None where there is none."""
        return next((one for one in self.configurations if one.point == self.baseline), None)

    @property
    def metrics(self) -> list[str]:
        """What it ranks by."""
        return [one.metric for one in self.objective_list] or [self.metric]

    @property
    def seed_word(self) -> str:
        """What the number of a replicate is: its seed, or without the seeds its place among them."""
        return "seed" if self.seeds or self.seeds_of_studies else "replicate"

    def seed_of(self, record: TrialRecord) -> int:
        """Return that number for a trial."""
        numbers = (self.seeds_of_studies or {}).get(record.study, self.seeds)
        return numbers[record.replicate] if record.replicate < len(numbers) else record.replicate


def ranked_rows(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None, top: int | None = None
) -> Ranking:
    """Rank the trials of a study, from the results folder or from the server that is named.

    A metric that is named ranks alone; without one all objectives of the study do.

    Args:
        results: the folder of all studies.
        tracking_uri: a server to read instead.
        name: the study; None means the newest.
        metric: what to rank by.
        top: how many places are asked for, None for all; a server may then read no more.

    Raises:
        UsageError: no trial reports the metric.
        StudyStorageError, TrackingError: there is no such study.
    """
    return rank_sources([read_ranked(results, tracking_uri, name, metric, top)], metric)


def rank_sources(
    sources: Sequence[StudyHandle], metric: str | None, where: TrialFilter | None = None, *, trials: bool = False
) -> Ranking:
    """Rank the trials of one or several studies together.

    Args:
        sources: the studies.
        metric: what to rank by; None means their objectives, which must then be the same.
        where: what must hold of a trial, or of a configuration where each has several trials, to be ranked at all.
        trials: whether single trials are asked for although configurations have several.

    Raises:
        UsageError: the studies have different objectives, no trial of theirs reports the metric, or the expression
            means nothing for them.
    """
    objectives = _common_objectives(sources, metric)
    first, many, one_study = objectives[0], len(objectives) > 1, len(sources) == 1
    records = [record for one in sources for record in one.records]
    if metric is not None:
        require_metric(metric, records)
    replicates = max(one.replicates for one in sources)
    seeds: Seeds = {one.name: one.seeds for one in sources if one.seeds}
    configurations: tuple[Configuration, ...] = ()
    if where is not None:
        require_filter(
            where,
            [known for one in sources for known in (*one.records, *one.sample)],
            seeds,
            trials=trials or replicates == 1,
        )
        if trials or replicates == 1:
            records = [one for one in records if where.holds(trial_fields(one, seeds))]
    if replicates > 1:
        configurations = _configurations(sources, records, objectives, None if trials else where)
        if where is not None and not trials:
            records = [one for found in configurations for one in found.trials]
    source, is_one_factor = sources[0], one_study and sources[0].design == "one_factor"
    return Ranking(
        study=", ".join(one.name for one in sources),
        metric=first.metric,
        mode=first.mode,
        rows=rank_trials(records, objectives),
        class_counts=_class_counts(sources, first.metric),
        configurations=configurations,
        replicates=replicates,
        seeds=source.seeds if all(one.seeds == source.seeds for one in sources) else (),
        objective_list=objectives if many else (),
        baseline=0 if is_one_factor and not many else None,
        studies=tuple(one.name for one in sources),
        total=sum(one.total for one in sources),
        where=where.text if where else None,
        notes=tuple(_notes(sources)),
        seeds_of_studies=seeds,
        looks=tuple(look for one in sources for look in one.looks),
        is_part=any(one.is_part for one in sources),
    )


def require_best(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None
) -> tuple[Ranking, RankedTrial]:
    """Return the ranking and the trial that wins it; its weights may not have been kept.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    found = ranked_rows(results, tracking_uri, name, metric)
    return found, winner_of(found)


def winner_of(found: Ranking) -> RankedTrial:
    """Return the first trial, of the first configuration the one with the best value.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    require_candidate(found)
    if found.objective_list:
        raise UsageError(
            f"`{found.study}` has several objectives and so no single best trial; name one to choose by, "
            f"such as --metric {found.metric}"
        )
    if not found.configurations:
        return found.rows[0]
    best = found.configurations[0]
    assert best.best is not None
    return RankedTrial(best.rank, best.best.metrics[found.metric], best.best)


def require_candidate(found: Ranking) -> None:
    """Make sure that something is ranked.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet, or with a number for what they rank by.
    """
    if not found.rows or found.rows[0].rank is None:
        count = len(found.rows) if found.total is None else found.total
        if ended := [row.record.trial for row in found.rows if has_checkpoint(row.record)]:
            raise StudyStorageError(
                f"a best trial needs a number for {' and '.join(found.metrics)}, but none of the {len(ended)} trials "
                f"of `{found.study}` that ended with a checkpoint has one"
            )
        raise StudyStorageError(
            f"a best trial needs one that ended with a checkpoint, but none of the {count} trials of "
            f"`{found.study}` did; `study show {found.study}` says how they stand"
        )


def mode_of(metric: str, objectives: Sequence[Objective]) -> Mode:
    """Return which direction of a metric is better; an objective's own comes first.

    Raises:
        UsageError: no trial reports it, neither direction is better, or it is one of the test images.
    """
    for objective in objectives:
        if metric == objective.metric:
            return objective.mode
    known = metric_named(metric)
    if metric.startswith(TEST_PREFIX) and known is not None:
        raise UsageError(
            f"--metric must not be one of the test images, got `{metric}`: they are looked at once, at the end; "
            f"choose by validation, such as {VAL_PREFIX}{metric.removeprefix(TEST_PREFIX)}"
        )
    if known is None or known.mode is None:
        from study.utils.suggestions import did_you_mean

        usable = [name for name, description in METRICS.items() if description.mode is not None]
        raise UsageError(
            f"--metric must be one a checkpoint can be ranked by, got `{metric}`{did_you_mean(metric, usable)}"
        )
    return known.mode


def _common_objectives(sources: Sequence[StudyHandle], metric: str | None) -> tuple[Objective, ...]:
    if metric is not None:
        known = tuple(objective for one in sources for objective in one.objective_list)
        return (Objective(metric=metric, mode=mode_of(metric, known)),)
    first = sources[0].objective_list
    if any(one.objective_list != first for one in sources):
        each = "; ".join(
            f"{one.name}: {', '.join(f'{objective.mode} {objective.metric}' for objective in one.objective_list)}"
            for one in sources
        )
        raise UsageError(
            f"studies that are ranked together must have the same objective, but they have {each}; "
            f"name one to rank by, such as --metric {first[0].metric}"
        )
    return first


def _configurations(
    sources: Sequence[StudyHandle],
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    where: TrialFilter | None,
) -> tuple[Configuration, ...]:
    planned = {one.name: one.replicates for one in sources}
    by_pass = all(one.design != "search" for one in sources)
    found = rank_configurations(records, objectives, planned, by_pass=by_pass)
    if where is not None:
        matching = [one for one in found if where.holds(configuration_fields(one))]
        found = rank_configurations(
            [one for each in matching for one in each.trials], objectives, planned, by_pass=by_pass
        )
    return tuple(found)


def _class_counts(sources: Sequence[StudyHandle], metric: str) -> tuple[int, ...]:
    """Return the images of each class that a metric is measured on, where all studies have the same."""
    shifted = shifted_sets(metric)
    images = f"shifted/{shifted[0]}" if shifted else "val"
    found = [one.class_counts.get(images, ()) for one in sources]
    return found[0] if all(one == found[0] for one in found) else ()


def _notes(sources: Sequence[StudyHandle]) -> list[str]:
    prints = {one.fingerprint for one in sources}
    if len(prints) < 2:
        return []
    each = ", ".join(f"{one.name} {one.data_source} {one.fingerprint[:12] or 'unknown'}" for one in sources)
    return [f"the data differ, so the metrics are not about the same images: {each}"]


_SAMPLE = 50
_SLOW = 2_000
_TAGS = {"trial": "study.trial", "point": "study.point", "replicate": "study.replicate", "state": "study.state"}
_SIGNS = ("<", "<=", ">", ">=")
_WORDS = tuple(name for name, field in TrialConfig.model_fields.items() if not isinstance(field.default, tuple))
"""Hyperparameters that MLflow has as a condition writes them; several numbers it has in another way."""


def read_ranked(
    results: Path,
    tracking_uri: str | None,
    name: str | None,
    metric: str | None,
    top: int | None,
    where: TrialFilter | None = None,
    *,
    trials: bool = False,
) -> StudyHandle:
    """Read a study to rank, from the results folder or from a server; there no more than the first ``top`` places take.

    All trials are read where the order of places is not the server's: means over replicates, several objectives, and
    when no number is asked for.

    Args:
        results: the folder of all studies.
        tracking_uri: a server or database to read instead.
        name: the study; None means the newest.
        metric: what to rank by; None means its objectives.
        top: how many places are asked for; None means all.
        where: what must hold of a trial.
        trials: whether single trials are ranked although configurations have several.

    Raises:
        StudyStorageError, TrackingError: there is no such study, or the server is away.
        UsageError: no trial reports the metric, or the expression means nothing.
    """
    if not tracking_uri:
        return open_study(results, name)
    from tracking.reader import queries

    study = queries.open_study(tracking_uri, name)
    objectives = study.objective_list if metric is None else study.objective_list[:1]
    single = trials or not study.has_replicates
    by_server = top is not None and len(objectives) == 1 and single
    wanted = server_filter_of(where) if single else ()
    sample = list(study.trials(limit=_SAMPLE)) if where is not None and (by_server or wanted) else []
    if sample and where is not None and not _is_understood(study, sample, where):
        by_server, wanted = False, ()  # all trials together say what is wrong with it
    if not by_server:
        if study.summary.trials > _SLOW:
            typer.echo(f"reading all {study.summary.trials} trials of {study.name} from the server", err=True)
        return StudyOnServer(study, list(study.trials(wanted=wanted)), sample)
    assert top is not None
    first, is_part = _first(study, metric or objectives[0].metric, max(top, 2), where)
    return StudyOnServer(study, first, sample, is_part=is_part)


def _is_understood(study: ServedStudy, sample: Sequence[TrialRecord], where: TrialFilter) -> bool:
    """Whether an expression means something for a few trials; of a large study it must."""
    try:
        require_filter(where, sample, {study.name: study.seeds}, trials=True)
    except UsageError:
        if study.summary.trials > _SLOW:
            raise
        return False
    return True


def _first(study: ServedStudy, metric: str, count: int, where: TrialFilter | None) -> tuple[list[TrialRecord], bool]:
    """Return the trials that have the first places, and others; and whether more may match."""
    seeds = {study.name: study.seeds} if study.seeds else {}
    objective = Objective(metric=metric, mode=mode_of(metric, study.objective_list))

    def fits(record: TrialRecord) -> bool:
        return is_candidate(record, [objective]) and (where is None or where.holds(trial_fields(record, seeds)))

    found = study.best(metric, objective.mode, count, fits, server_filter_of(where))
    return found, sum(map(fits, found)) >= count


def server_filter_of(where: TrialFilter | None) -> Sequence[ServerFilter]:
    """Return what an expression demands in any case and MLflow's filters understand; it may demand more."""
    if where is None:
        return ()
    expression = where.expression
    parts = expression.parts if isinstance(expression, And) else (expression,)
    return [found for one in parts if (found := _wanted(one)) is not None]


def _wanted(part: Expression) -> ServerFilter | None:
    from tracking.reader.study import ServerFilter

    if not isinstance(part, Comparison) or not isinstance(part.left, Name) or not isinstance(part.right, LiteralValue):
        return None
    name, sign, value = part.left.name, part.sign, part.right.literal
    bare = name.removeprefix("params.").removeprefix("metrics.")
    if name in _TAGS and sign == "=" and value != TrialState.WAITING and not isinstance(value, float):
        return ServerFilter("tag", _TAGS[name], sign, str(value)) if _is_plain(str(value)) else None
    if name in FIELDS:
        return None
    if isinstance(value, str):
        ours = bare in _WORDS and sign == "=" and _is_plain(value)
        return ServerFilter("param", bare, sign, value) if ours else None
    is_metric = name.startswith("metrics.") or (metric_named(name) is not None and name not in TrialConfig.model_fields)
    is_number = not isinstance(value, bool)
    return ServerFilter("metric", bare, sign, value) if is_metric and sign in _SIGNS and is_number else None


def _is_plain(text: str) -> bool:
    """Whether MLflow's filters can quote a text."""
    return 0 < len(text) < 250 and text.isascii() and text.isprintable() and not set(text) & set("'\"`\\%")

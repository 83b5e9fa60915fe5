"""The ranking of one or several studies, as the commands show it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.queries.field_getters import Seeds, configuration_fields, mode_of, require_filter, require_metric, trial_fields
from cli.queries.server_queries import read_ranked
from cli.queries.study_handle import StudyHandle, StudyInFolder
from study.analysis.ranking import (
    Configuration,
    RankedTrial,
    has_checkpoint,
    rank_configurations,
    rank_trials,
)
from study.analysis.trial_filter import TrialFilter
from study.config.search_config import Mode, Objective
from study.errors import StudyStorageError, UsageError
from study.metric_catalog import shifted_set
from study.records import SHIFTED_SET_PREFIX, FinalLook, TrialRecord


@dataclass(frozen=True)
class Ranking:
    """The ranking of one study, or of several together.

    Attributes:
        study: its name, or the names of all.
        metric, mode: what it ranks by; with several objectives the first of them.
        rows: the ranked trials; perhaps only the first, or those that match ``where``.
        class_counts: images of each class in the set the metric is measured on, empty where unknown.
        configurations: the ranked points, where each has more than one replicate.
        replicates: how many each point has.
        seeds: those of the replicates, empty where unknown.
        objective_list: the objectives, where several rank together.
        baseline: the point that the others of a one-factor design differ from.
        total: how many trials there are.
        is_part: whether more trials than ``rows`` may match ``where``.
        classes: names of the classes, empty where unknown.
        rank_intervals: the lowest and the highest rank that each point, or each trial, may have, where it was judged.
        baseline_differences: of each point to the baseline, with the ends of intervals that all hold together.
        looks: the evaluations on the test images.
        is_interim: whether a study still runs.
        look: which look at its growing results this is.
        is_adaptive: whether a search chose points by the results of earlier ones.
        options: of a command that reads these studies again, with a blank before each.
        folder_options: the same of one that needs the results folder, wherever the ranking was read.
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
    classes: tuple[str, ...] = ()
    rank_intervals: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    baseline_differences: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)
    is_interim: bool = False
    look: int = 1
    is_adaptive: bool = False
    options: str = ""
    folder_options: str = ""

    def command(self, verb: str, trial: int | None = None) -> str:
        """Return the command line that does something with the study or a trial of it, quoted for a shell."""
        what = self.study if trial is None else f"{self.study}/{trial}"
        return f"study {verb} {shlex.quote(what)}{self.options}"

    @property
    def base(self) -> Configuration | None:
        """The configuration that others are to be compared with, None where there is none."""
        return next((each for each in self.configurations if each.point == self.baseline), None)

    @property
    def metrics(self) -> list[str]:
        """The metrics it ranks by."""
        return [objective.metric for objective in self.objective_list] or [self.metric]

    @property
    def seed_word(self) -> str:
        """The heading of ``seed_of``: the seed of a replicate, or its index where the seeds are unknown."""
        return "seed" if self.seeds or self.seeds_of_studies else "replicate"

    def seed_of(self, record: TrialRecord) -> int:
        """Return a trial's seed, or the index of its replicate where the seeds are unknown."""
        numbers = (self.seeds_of_studies or {}).get(record.study, self.seeds)
        return numbers[record.replicate] if record.replicate < len(numbers) else record.replicate


def rank_study(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None, top: int | None = None
) -> Ranking:
    """Rank the trials of a study, from the results folder or from a server, which is read for the ``top`` ranks only.

    A metric ranks alone; without one all objectives of the study rank together.

    Raises:
        UsageError: no trial reports the metric.
        StudyStorageError, TrackingError: there is no such study.
    """
    return rank_studies([read_ranked(results, tracking_uri, name, metric, top)], metric)


def rank_studies(
    studies: Sequence[StudyHandle], metric: str | None, where: TrialFilter | None = None, *, trials: bool = False
) -> Ranking:
    """Rank the trials of one or several studies together.

    Args:
        studies: the studies.
        metric: what to rank by; None means their objectives, which must then be the same.
        where: what must hold of a trial, or of a configuration where each has several trials, to be ranked at all.
        trials: whether single trials are asked for although configurations have several.

    Raises:
        UsageError: the studies have different objectives, no trial of theirs reports the metric, or the expression
            means nothing for them.
    """
    objectives = _common_objectives(studies, metric)
    first, several = objectives[0], len(objectives) > 1
    records = [record for study in studies for record in study.records]
    if metric is not None:
        require_metric(metric, records)
    replicates = max(study.replicates for study in studies)
    by_trial = trials or replicates == 1
    seeds: Seeds = {study.name: study.seeds for study in studies if study.seeds}
    configurations: tuple[Configuration, ...] = ()
    if where is not None:
        known = [record for study in studies for record in (*study.records, *study.sample)]
        require_filter(where, known, seeds, trials=by_trial)
        if by_trial:
            records = [record for record in records if where.holds(trial_fields(record, seeds))]
    if replicates > 1:
        configurations = _configurations(studies, records, objectives, None if trials else where)
        if where is not None and not trials:
            records = [trial for configuration in configurations for trial in configuration.trials]
    is_one_factor = len(studies) == 1 and studies[0].design == "one_factor"
    return Ranking(
        study=", ".join(study.name for study in studies),
        metric=first.metric,
        mode=first.mode,
        rows=rank_trials(records, objectives),
        class_counts=_class_counts(studies, first.metric),
        classes=studies[0].classes if len(studies) == 1 else (),
        configurations=configurations,
        replicates=replicates,
        seeds=studies[0].seeds if all(study.seeds == studies[0].seeds for study in studies) else (),
        objective_list=objectives if several else (),
        baseline=0 if is_one_factor and not several else None,
        studies=tuple(study.name for study in studies),
        total=sum(study.total for study in studies),
        where=where.text if where else None,
        notes=tuple(_notes(studies)),
        seeds_of_studies=seeds,
        looks=tuple(look for study in studies for look in study.looks),
        is_part=any(study.is_part for study in studies),
        is_interim=any(study.state == "running" for study in studies),
        look=max(study.look for study in studies),
        is_adaptive=any(study.is_adaptive for study in studies),
        options=studies[0].options,
        folder_options=studies[0].options if isinstance(studies[0], StudyInFolder) else "",
    )


def require_best(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None
) -> tuple[Ranking, RankedTrial]:
    """Return the ranking and the trial that wins it; its weights may not have been kept.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    ranking = rank_study(results, tracking_uri, name, metric)
    return ranking, winner_of(ranking)


def winner_of(ranking: Ranking) -> RankedTrial:
    """Return the trial of rank 1; of a configuration of rank 1 its best trial.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    require_candidate(ranking)
    if ranking.objective_list:
        raise UsageError(
            f"`{ranking.study}` has several objectives and so no single best trial; name one to choose by, "
            f"such as --metric {ranking.metric}"
        )
    if not ranking.configurations:
        return ranking.rows[0]
    best = ranking.configurations[0]
    assert best.best is not None
    return RankedTrial(best.rank, best.best.metrics[ranking.metric], best.best)


def require_candidate(ranking: Ranking) -> None:
    """Make sure that something is ranked.

    Raises:
        StudyStorageError: no trial ended with a checkpoint yet, or with a number for what they rank by.
    """
    if not ranking.rows or ranking.rows[0].rank is None:
        count = len(ranking.rows) if ranking.total is None else ranking.total
        if ended := [row.record.trial for row in ranking.rows if has_checkpoint(row.record)]:
            raise StudyStorageError(
                f"a best trial needs a number for {' and '.join(ranking.metrics)}, but none of the {len(ended)} trials "
                f"of `{ranking.study}` that ended with a checkpoint has one"
            )
        raise StudyStorageError(
            f"a best trial needs one that ended with a checkpoint, but none of the {count} trials of "
            f"`{ranking.study}` did; `{ranking.command('show')}` says how they stand"
        )


def _common_objectives(studies: Sequence[StudyHandle], metric: str | None) -> tuple[Objective, ...]:
    if metric is not None:
        known = tuple(objective for study in studies for objective in study.objective_list)
        return (Objective(metric=metric, mode=mode_of(metric, known)),)
    first = studies[0].objective_list
    if any(study.objective_list != first for study in studies):
        each = "; ".join(
            f"{study.name}: {', '.join(f'{each.mode} {each.metric}' for each in study.objective_list)}"
            for study in studies
        )
        raise UsageError(
            f"studies that are ranked together must have the same objective, but they have {each}; "
            f"name one to rank by, such as --metric {first[0].metric}"
        )
    return first


def _configurations(
    studies: Sequence[StudyHandle],
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    where: TrialFilter | None,
) -> tuple[Configuration, ...]:
    planned = {study.name: study.replicates for study in studies}
    by_pass = all(study.design != "search" for study in studies)
    ranked = rank_configurations(records, objectives, planned, by_pass=by_pass)
    if where is not None:
        matching = [trial for each in ranked if where.holds(configuration_fields(each)) for trial in each.trials]
        ranked = rank_configurations(matching, objectives, planned, by_pass=by_pass)
    return tuple(ranked)


def _class_counts(studies: Sequence[StudyHandle], metric: str) -> tuple[int, ...]:
    """Return the images of each class that a metric is measured on, where all studies have the same."""
    shifted = shifted_set(metric)
    images = "val" if shifted is None else SHIFTED_SET_PREFIX + shifted
    counts = {study.class_counts.get(images, ()) for study in studies}
    return counts.pop() if len(counts) == 1 else ()


def _notes(studies: Sequence[StudyHandle]) -> list[str]:
    if len({study.fingerprint for study in studies}) < 2:
        return []
    each = ", ".join(f"{study.name} {study.data_source} {study.fingerprint[:12] or 'unknown'}" for study in studies)
    return [f"the data differ, so the metrics are not about the same images: {each}"]

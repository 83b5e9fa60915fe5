"""What the factors of a stored study do, on validation and on every shifted set; of a search their importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from cli.queries.ranking import Ranking, rank_studies
from cli.queries.stored_predictions import NoPredictionsError, comparable_trials, compare_stored
from cli.queries.study_handle import StudyInFolder
from cli.queries.verdict import compare_reported
from study.config.hyperparameters import Scalar
from study.config.search_space import Domain, Uniform
from study.designs.space import is_continuous, searched, values_of
from study.errors import StudyStorageError, UsageError
from study.metric_catalog import VAL_PREFIX, bare_metric, shifted_metric, shifted_set
from study.records import SHIFTED_SET_PREFIX, TrialRecord, TrialState

if TYPE_CHECKING:
    from study.analysis.effects import Effect, Terms
    from study.analysis.verdict import About, Comparison
    from study.analysis.verdict_by_values import Basis

MOST_RUNS = 2_000
"""Predictions of more runs take minutes to read and do not fit the memory of a small machine."""
DESIGNS_WITH_EFFECTS = ("grid", "one_factor", "factorial")
_BASELINE = 0
_LIMITS: Mapping[Basis, str] = {
    "counts": "what images do is estimated from their number, as if each point had images of its own",
    "values": "by seeds alone; what other images would do is not known, so that nothing is certain",
    "measurements": "by seeds alone, as images do not blur it",
}


@dataclass(frozen=True)
class EffectTable:
    """The effects on one metric, in the order of the design; their intervals hold together.

    Attributes:
        metric: such as ``val_auc`` or ``shifted.lowlight.auc``.
        images: the shifted set that it is measured on; None for validation, or where it is of no images.
        effects: what each level does.
        about: "configurations", or "checkpoints" where each point ran once.
        basis: what the errors rest on.
        why: why that is not predictions, else empty.
    """

    metric: str
    images: str | None
    effects: tuple[Effect, ...]
    about: About
    basis: Basis
    why: str = ""

    @property
    def limit(self) -> str:
        """What the errors lack, in words; empty where they rest on predictions."""
        if self.basis == "predictions":
            return ""
        return _LIMITS[self.basis] + (f", as {self.why}" if self.basis != "measurements" else "")

    def is_certain(self, effect: Effect) -> bool:
        """Whether an effect is surely not 0; values of images without more never say so, nor does one run."""
        several = self.basis in ("counts", "measurements") and self.about == "configurations"
        return effect.contrast.is_certain and (self.basis == "predictions" or several)


@dataclass(frozen=True)
class StudyEffects:
    """The effects of a designed study.

    Attributes:
        study, design: its name, and the kind of its design.
        tables: on validation first, then on shifted sets; all have the same terms.
        points, seeds: how many points have a part in them, and with how many seeds each ran.
        baseline: the values of the baseline of a one-factor design, else empty.
        level: 1 less the coverage of all intervals of a table; below 5 % where results were looked at before.
        is_interim: whether the study still runs.
        notes: what to know about them, a sentence each.
    """

    study: str
    design: str
    tables: tuple[EffectTable, ...]
    points: int
    seeds: int
    baseline: Mapping[str, Scalar]
    level: float
    is_interim: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StudyImportance:
    """How much each searched parameter tells the best points of a search from all others.

    Attributes:
        study: its name.
        shares: by metric, validation first, and parameter; those of a metric add up to 1.
        points: how many ran to their end.
        notes: what this cannot say, a sentence each.
    """

    study: str
    shares: Mapping[str, Mapping[str, float]]
    points: int
    notes: tuple[str, ...]


def read_effects(
    study: StudyInFolder, results: Path, metric: str | None = None, *, interactions: bool = True
) -> StudyEffects:
    """Return the effects of the factors of a study with a design.

    Args:
        study: one whose design is no search.
        results: the folder of all studies.
        metric: what they are effects on; None means the first objective.
        interactions: whether to estimate interactions too.

    Raises:
        StudyStorageError: too few points have ended.
        UsageError: no trial reports the metric, or the design shows no effects.
    """
    from study.analysis.effects import factorial_terms, one_factor_terms
    from study.analysis.statistics.contrast import look_level

    if study.design not in DESIGNS_WITH_EFFECTS:
        raise UsageError(
            f"effects are those of a design that is {', '.join(DESIGNS_WITH_EFFECTS)}, but `{study.name}` is "
            f"{study.design}: its factors change together, so that a difference of averages over the levels of one "
            f"would be due to the others too; `study compare {study.name}` ranks its points"
        )
    rankings = _rankings(study, metric)
    trials, points = _points(rankings[0])
    is_one_factor = study.design == "one_factor"
    if is_one_factor and _BASELINE not in points:
        raise StudyStorageError(
            f"the effects of `{study.name}` need its baseline, which has not ended with every seed; "
            f"`study show {study.name}` says how it stands"
        )
    params = [members[0].params for members in trials]
    if is_one_factor:
        baseline = points.index(_BASELINE)
        terms = one_factor_terms(params, baseline)
    else:
        baseline = None
        levels = {parameter.name: _levels(parameter.domain) for parameter in searched(study.view.spec.space)}
        terms = factorial_terms(params, levels, interactions=interactions)
    if not terms.terms:
        raise StudyStorageError(
            f"an effect needs two levels of a factor, but {len(points)} of the points of `{study.name}` ended with "
            f"every seed and a number for {rankings[0].metric}; `study show {study.name}` says how they stand"
        )
    tables, notes = [], [*_left_out(study, len(points)), *terms.notes]
    for ranking in rankings:
        try:
            tables.append(_table(ranking, results, trials, terms, baseline))
        except _LackingError as error:
            notes.append(str(error))
    seeds = min(map(len, trials))
    usual = {} if baseline is None else params[baseline]
    return StudyEffects(
        study.name, study.design, tuple(tables), len(points), seeds, usual, look_level(study.look),
        rankings[0].is_interim, tuple(notes),
    )  # fmt: skip


def read_importance(study: StudyInFolder, metric: str | None = None) -> StudyImportance:
    """Return the importance of the searched parameters of a search.

    Raises:
        StudyStorageError: too few points have ended.
        UsageError: no trial reports the metric.
    """
    from study.search.importance import FEWEST_POINTS, best_share, importance

    shares: dict[str, dict[str, float]] = {}
    notes, most = [], 0
    for ranking in _rankings(study, metric):
        trials, _ = _points(ranking)
        values = [fmean(record.metrics[ranking.metric] for record in members) for members in trials]
        if len(trials) < FEWEST_POINTS:
            if not shares:
                raise StudyStorageError(
                    f"importance needs at least {FEWEST_POINTS} points that ran to their end with a number for "
                    f"{ranking.metric}, got {len(trials)}; `study extend {study.name} --trials N` adds some"
                )
            notes.append(f"only {len(trials)} points have {ranking.metric}, too few")
            continue
        most = max(most, len(trials))
        params = [members[0].params for members in trials]
        shares[ranking.metric] = importance(params, values, study.view.spec.space, ranking.mode)
    best = round(best_share(most) * most)
    notes = [
        f"importance says how much the values of a parameter among the best {best} of {most} points differ from those "
        "among all; not which value is better, nor why, and nothing of chance",
        "the sampler chose the points: a parameter whose good values were tried throughout looks unimportant, and "
        "trials that were stopped early are left out",
        f"`study confirm {study.name}` runs the best again with fresh seeds, which is what a claim takes; "
        "a design such as one_factor or factorial shows effects",
        *notes,
    ]
    return StudyImportance(study.name, shares, most, tuple(notes))


class _LackingError(Exception):
    """Why a shifted set has no table, as a sentence."""


def _rankings(study: StudyInFolder, metric: str | None) -> list[Ranking]:
    """Return the rankings by a metric, and by the same metric on every shifted set."""
    asked = metric or study.objective_list[0].metric
    metrics, bare = [asked], bare_metric(asked)
    if asked.startswith(VAL_PREFIX):
        sizes = study.view.data.sizes
        sets = [name.removeprefix(SHIFTED_SET_PREFIX) for name in sizes if name.startswith(SHIFTED_SET_PREFIX)]
        known = {name for record in study.records for name in record.metrics}
        metrics += [name for each in sets if (name := shifted_metric(each, bare)) in known]
    return [rank_studies([study], name) for name in metrics]


def _points(ranking: Ranking) -> tuple[list[list[TrialRecord]], tuple[int, ...]]:
    """Return the trials of each point that ran to its end with every seed, and the numbers of the points."""
    trials, _ = comparable_trials(ranking)
    whole = [
        members
        for members in trials
        if all(each.state is TrialState.COMPLETE and _has(each, ranking.metric) for each in members)
    ]
    return whole, tuple(members[0].point for members in whole)


def _has(record: TrialRecord, metric: str) -> bool:
    return metric in record.metrics and math.isfinite(record.metrics[metric])


def _levels(domain: Domain) -> Sequence[Scalar]:
    """Return the levels of a factor, the reference first; of a continuous range its ends, as a fraction takes them."""
    if isinstance(domain, Uniform) and is_continuous(domain):
        return domain.low, domain.high
    return values_of(domain)


def _left_out(study: StudyInFolder, points: int) -> list[str]:
    from study.designs import distinct_points

    planned = distinct_points(study.view.spec)
    if planned is None or points >= planned:
        return []
    return [f"{planned - points} of {planned} points have not run to their end with every seed and are left out"]


def _table(
    ranking: Ranking, results: Path, trials: Sequence[Sequence[TrialRecord]], terms: Terms, baseline: int | None
) -> EffectTable:
    from study.analysis.effects import estimate_against_baseline, estimate_effects
    from study.analysis.statistics.contrast import look_level

    images = shifted_set(ranking.metric)
    lacking = sum(not all(_has(record, ranking.metric) for record in members) for members in trials)
    if lacking:
        raise _LackingError(f"shifted set {images} is left out: {lacking} points have no {ranking.metric}")
    comparison, basis, why = _compare(ranking, results, trials)
    level = look_level(ranking.look)
    if baseline is None:
        effects = estimate_effects(comparison, terms.terms, level=level)
    else:
        effects = estimate_against_baseline(comparison, terms.terms, baseline, level=level)
    return EffectTable(ranking.metric, images, effects, comparison.about, basis, why)


def _compare(ranking: Ranking, results: Path, trials: Sequence[Sequence[TrialRecord]]) -> tuple[Comparison, Basis, str]:
    """Return the comparison by stored predictions, or by values alone and why."""
    try:
        if (runs := sum(map(len, trials))) > MOST_RUNS:
            raise NoPredictionsError(f"predictions of {runs} runs are too many, at most {MOST_RUNS} are read")
        return compare_stored(ranking, results, trials), "predictions", ""
    except NoPredictionsError as error:
        return *compare_reported(ranking, trials), str(error)

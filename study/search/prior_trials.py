"""Finished points of an earlier study that fit a new study's space, for its sampler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from study.best_epoch import selected_epoch
from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Constant, Parameter, same_value
from study.config.study_config import StudySpec
from study.designs.space import constants, is_active, without
from study.records import StopReason, TrialRecord, TrialState
from study.search.space import contains, distribution


@dataclass(frozen=True)
class PriorTrial:
    """A finished point of an earlier study.

    ``params`` are the values of this study's searched parameters, ``values`` the mean over its replicates by the
    metric of every objective, ``epochs`` the objective by epoch of one that was pruned.
    """

    params: Mapping[str, Scalar]
    values: Mapping[str, float]
    epochs: Mapping[int, float] = field(default_factory=dict)
    state: TrialState = TrialState.COMPLETE

    def as_json(self) -> dict[str, Any]:
        """Return the stored form."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PriorTrial:
        """Read the stored form."""
        epochs = {int(epoch): value for epoch, value in stored["epochs"].items()}
        return cls(stored["params"], stored["values"], epochs, TrialState(stored["state"]))


class _MisfitError(Exception):
    """Why a point cannot be used."""


def prior_trials(
    spec: StudySpec, earlier: StudySpec, records: Iterable[TrialRecord]
) -> tuple[tuple[PriorTrial, ...], int, str]:
    """Return the points of another study that fit a new one's space, the number of those that do not, and why.

    A point fits if it has the parameters that are searched here, each with a value that may be chosen here; what was
    fixed there counts as its value, and what is fixed here but was searched there must have had that value. An epoch
    is selected anew by this study's objective. Points that run yet are not counted.
    """
    searched = {parameter.name for parameter in earlier.space}
    priors: list[PriorTrial] = []
    misfits: Counter[str] = Counter()
    for runs in _by_point(records):
        try:
            priors.append(_fit(spec, runs, searched))
        except _MisfitError as misfit:
            misfits[str(misfit)] += 1
    why = "; ".join(f"{reason} ({count})" for reason, count in misfits.most_common(3))
    return tuple(priors), sum(misfits.values()), why


def _by_point(records: Iterable[TrialRecord]) -> Iterable[list[TrialRecord]]:
    points: dict[int, list[TrialRecord]] = {}
    for record in records:
        points.setdefault(record.point, []).append(record)
    return [runs for runs in points.values() if all(record.state.is_finished for record in runs)]


def _fit(spec: StudySpec, runs: list[TrialRecord], searched: set[str]) -> PriorTrial:
    params = _params(spec, runs[0], searched)
    pruned = next(
        (run for run in runs if run.state is TrialState.PRUNED and run.stop_reason is StopReason.PRUNED), None
    )
    if pruned is not None:
        metric = spec.objective.metric
        epochs = {epoch.epoch: epoch.values[metric] for epoch in pruned.history if metric in epoch.values}
        if len(spec.objective_list) > 1 or not epochs:
            raise _MisfitError("was stopped before its end")
        return PriorTrial(params, {}, epochs, TrialState.PRUNED)
    values = [_values(spec, run) for run in runs if run.state is not TrialState.FAILED and run.history]
    if not values:
        raise _MisfitError("failed")
    metrics = [objective.metric for objective in spec.objective_list]
    return PriorTrial(params, {name: fmean(each[name] for each in values) for name in metrics})


def _values(spec: StudySpec, record: TrialRecord) -> dict[str, float]:
    """Return the metrics of all objectives at the epoch that this study would select."""
    metric = spec.objective.metric
    history = [epoch for epoch in record.history if metric in epoch.values]
    best = selected_epoch(history, spec.objective)
    known = {} if best is None else dict(best.values)
    if best is not None and best.epoch == record.epoch:
        known |= record.metrics
    lacking = [objective.metric for objective in spec.objective_list if objective.metric not in known]
    if lacking:
        raise _MisfitError(f"has no {', '.join(lacking)}")
    return {objective.metric: known[objective.metric] for objective in spec.objective_list}


def _params(spec: StudySpec, record: TrialRecord, searched: set[str]) -> dict[str, Scalar]:
    """Return the values of the parameters that are searched here."""
    here = {parameter.name for parameter in spec.space}
    fixed = {**spec.trial.model_dump(), **constants(spec.space)}
    params: dict[str, Scalar] = {}
    known = constants(spec.space)
    for parameter in spec.space:
        name, value = parameter.name, record.config.get(parameter.name)
        if isinstance(parameter.domain, Constant):
            if name in record.params and not same_value(value, parameter.domain.value):
                raise _MisfitError(f"{name} is fixed at {parameter.domain.value!r} here")
        elif is_active(parameter, known):
            params[name] = known[name] = _admitted(parameter, value, known)
        elif name in record.params:
            raise _MisfitError(f"{name} is not searched beside its other values here")
    for name in sorted(record.params.keys() & searched - here):
        if not same_value(record.params[name], fixed.get(name)):
            raise _MisfitError(f"{name} is fixed at {fixed.get(name)!r} here")
    return params


def _admitted(parameter: Parameter, value: object, known: Mapping[str, Scalar]) -> Scalar:
    if not isinstance(value, bool | int | float | str):
        raise _MisfitError(f"has no {parameter.name}")
    if isinstance(parameter.domain, Choice):
        removed = [rule.value for rule in parameter.excluded if rule.beside.holds(known.get(rule.beside.parameter))]
        if any(same_value(value, choice) for choice in without(parameter.domain.values, removed)):
            return value
        raise _MisfitError(f"{parameter.name} {value!r} is no choice here")
    asked = distribution(parameter)
    assert isinstance(asked, FloatDistribution | IntDistribution)
    if isinstance(value, bool | str) or not contains(asked, value):
        raise _MisfitError(f"{parameter.name} is outside {asked.low}..{asked.high}")
    return value

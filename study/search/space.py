"""The search space in Optuna's terms: domains, suggestions, and what may be taken out of a space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from study.config.hyperparameters import DEFAULT_SGD_MOMENTUM, Scalar, TrialConfig
from study.config.search_space import Choice, Condition, Constant, Exclusion, Integer, Parameter, Uniform, same_value
from study.config.study_config import StudySpec, stable_seed
from study.designs.space import constants, is_active, is_continuous, parents_first, values_of, without

SHORTER_LIST = " without "
"""Between a parameter's name and the values taken out, in Optuna's name for a shorter list of choices."""


def suggest(trial: Trial, space: Sequence[Parameter]) -> dict[str, Scalar]:
    """Suggest a value for every searched parameter that exists in this trial, in the order of the space."""
    params: dict[str, Scalar] = {}
    known = constants(space)
    for parameter, name, asked in active_distributions(space, known):
        value: Any
        if isinstance(asked, CategoricalDistribution):
            value = trial.suggest_categorical(name, asked.choices)
        elif isinstance(asked, IntDistribution):
            value = trial.suggest_int(name, asked.low, asked.high, step=asked.step, log=asked.log)
        else:
            assert isinstance(asked, FloatDistribution)
            value = trial.suggest_float(name, asked.low, asked.high, step=asked.step, log=asked.log)
        params[parameter.name] = known[parameter.name] = exact_value(asked, value)
    return params


def active_distributions(
    space: Sequence[Parameter], known: Mapping[str, Scalar]
) -> Iterator[tuple[Parameter, str, BaseDistribution]]:
    """Yield every searched parameter that exists beside ``known``, with its name and domain in Optuna.

    The caller puts each value into ``known`` before it asks for the next. Optuna wants one fixed list of choices per
    name, so a list that lacks values has a name of its own.
    """
    for parameter in space:
        if isinstance(parameter.domain, Constant) or not is_active(parameter, known):
            continue
        removed = [rule.value for rule in parameter.excluded if rule.beside.holds(known.get(rule.beside.parameter))]
        if isinstance(parameter.domain, Choice) and removed:
            left = CategoricalDistribution(without(parameter.domain.values, removed))
            yield parameter, f"{parameter.name}{SHORTER_LIST}{removed}", left
        else:
            yield parameter, parameter.name, distribution(parameter)


def exact_value(asked: BaseDistribution, value: Any) -> Scalar:
    """Return a suggested value in the type of its domain and exactly on its step."""
    if isinstance(asked, IntDistribution):
        return int(value)
    if isinstance(asked, FloatDistribution):
        return float(value) if asked.step is None else nearest_step(float(value), asked.low, asked.step)
    choice: Scalar = value
    return choice


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's form of a domain; a step that does not divide the range lowers its upper end.

    A constant becomes a choice of one value.
    """
    match parameter.domain:
        case Choice(values=values):
            return CategoricalDistribution(values)
        case Constant(value=value):
            return CategoricalDistribution((value,))
        case Integer(low=low, high=high, step=step, log=log):
            return IntDistribution(low, low + (high - low) // step * step, log=log, step=step)
        case Uniform(low=low, high=high, step=None, log=log):
            return FloatDistribution(low, high, log=log)
        case Uniform(low=low, high=high, step=float(step)):
            return FloatDistribution(low, _last_step(low, high, step), step=step)
    raise AssertionError(f"unknown domain {parameter.domain!r}")


def contains(asked: FloatDistribution | IntDistribution, value: float) -> bool:
    """Whether a number is within a range and on its steps."""
    steps = (value - asked.low) / asked.step if asked.step else 0.0
    return asked.low <= value <= asked.high and abs(steps - round(steps)) < 1e-8


def _last_step(low: float, high: float, step: float) -> float:
    """Return the largest low + k * step <= high, in decimals, where 0.1 + 2 * 0.1 is 0.3."""
    first, last, by = (Decimal(str(number)) for number in (low, high, step))
    return float(first + (last - first) // by * by)


def nearest_step(value: float, low: float, step: float) -> float:
    """Return the low + k * step that is meant, in decimals, as grids have it."""
    return float(Decimal(str(low)) + round((value - low) / step) * Decimal(str(step)))


def trial_config(spec: StudySpec, params: Mapping[str, Scalar], *, point: int, replicate: int = 0) -> TrialConfig:
    """Make one trial from suggested values.

    The seed depends on the study's seed and the replicate's number alone, so that the same replicate of every
    configuration sees the same data order and augmentations and comparisons are paired. A momentum
    given as a constant is left out for an optimizer that has none; one that is not given is SGD's default.

    Args:
        spec: the study.
        params: the searched values that exist in the trial.
        point: the number of the configuration.
        replicate: index into the study's replicates.

    Raises:
        ValueError: a name is not a hyperparameter, or a value is not admitted.
    """
    values: dict[str, Any] = {**spec.trial.model_dump(), **constants(spec.space), **params}
    if values["optimizer"] != "sgd" and "momentum" not in params:
        values["momentum"] = None
    elif values["optimizer"] == "sgd" and values["momentum"] is None:
        values["momentum"] = DEFAULT_SGD_MOMENTUM
    seed = stable_seed(spec.search.seed, "replicate", spec.replicates.numbers[replicate])
    return TrialConfig(**values, seed=seed, point=point, replicate=replicate)


def without_values(spec: StudySpec, parameter: str, values: Iterable[Scalar]) -> StudySpec:
    """Remove values of a hyperparameter from what a study may choose.

    Conditions that ask only for removed values take their parameter, and its children, with them.

    Raises:
        ValueError: nothing would remain: every choice is removed, or the value is fixed.
    """
    removed = tuple(values)
    if parameter not in {candidate.name for candidate in spec.space}:
        _refuse_fixed(parameter, getattr(spec.trial, parameter), removed)
    space: list[Parameter] = []
    gone: set[str] = set()
    for candidate in spec.space:
        kept = _without_in(candidate, parameter, removed, gone)
        if kept is None:
            gone.add(candidate.name)
        else:
            space.append(kept)
    return spec.model_copy(update={"space": tuple(space)})


def _without_in(candidate: Parameter, parameter: str, removed: Sequence[Scalar], gone: set[str]) -> Parameter | None:
    """Return a parameter as it is after the removal, None where it can no longer exist."""
    if candidate.name == parameter:
        return _narrow(candidate, removed)
    if any(condition.parameter in gone for condition in candidate.when):
        return None
    when = tuple(
        Condition(parameter=parameter, values=without(condition.values, removed))
        if condition.parameter == parameter
        else condition
        for condition in candidate.when
    )
    return candidate.model_copy(update={"when": when}) if all(condition.values for condition in when) else None


def _narrow(parameter: Parameter, removed: Sequence[Scalar]) -> Parameter:
    if isinstance(parameter.domain, Constant):
        _refuse_fixed(parameter.name, parameter.domain.value, removed)
    if not isinstance(parameter.domain, Choice):
        return parameter
    remaining = without(parameter.domain.values, removed)
    if not remaining:
        raise ValueError(
            f"{parameter.name} must keep at least one value, but all of {list(parameter.domain.values)} are removed"
        )
    return parameter.model_copy(update={"domain": Choice(values=remaining)})


def _refuse_fixed(name: str, value: object, removed: Sequence[Scalar]) -> None:
    if any(same_value(value, gone) for gone in removed):
        raise ValueError(f"{name} must keep its value, but it is fixed at {value!r}, which is removed")


def admitted_values(spec: StudySpec, name: str) -> tuple[Scalar, ...]:
    """Return every value a hyperparameter may take in a study; for one that some trials lack, its fixed value too.

    Raises:
        ValueError: it is searched over a continuous range.
    """
    searched = next((candidate for candidate in spec.space if candidate.name == name), None)
    fixed: Scalar = getattr(spec.trial, name)
    if searched is None:
        return (fixed,)
    if is_continuous(searched.domain):
        raise ValueError(f"{name} must have a list of values, but is searched over a continuous range")
    admitted = tuple(values_of(searched.domain))
    lacking = bool(searched.when) and not any(same_value(fixed, value) for value in admitted)
    return (*admitted, fixed) if lacking else admitted


def forbid(spec: StudySpec, name: str, value: Scalar, beside: str, beside_values: Sequence[Scalar]) -> StudySpec:
    """Exclude a value of a choice where another parameter has one of the given values.

    Raises:
        ValueError: nothing would remain to choose from.
    """
    partner = admitted_values(spec, beside)
    searched = next((parameter for parameter in spec.space if parameter.name == name), None)
    everywhere = all(any(same_value(value, other) for other in beside_values) for value in partner)
    if everywhere or searched is None or not isinstance(searched.domain, Choice):
        return without_values(spec, name, [value])
    if len(searched.domain.values) == 1:
        raise ValueError(f"{name} must keep at least one value where {beside} is one of {list(beside_values)}")
    excluded = Exclusion(value=value, beside=Condition(parameter=beside, values=tuple(beside_values)))
    if excluded in searched.excluded:
        return spec
    changed = searched.model_copy(update={"excluded": (*searched.excluded, excluded)})
    space = [changed if parameter.name == name else parameter for parameter in spec.space]
    by_name = {parameter.name: parameter for parameter in space}
    ordered = parents_first({parameter.name: _needs(parameter) & by_name.keys() for parameter in space})
    if len(ordered) < len(space):  # the other parameter depends on this one, so it cannot be known first
        return without_values(spec, name, [value])
    return spec.model_copy(update={"space": tuple(by_name[name] for name in ordered)})


def _needs(parameter: Parameter) -> set[str]:
    return {rule.parameter for rule in parameter.when} | {rule.beside.parameter for rule in parameter.excluded}

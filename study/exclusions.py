"""Take values out of a space that cannot be run, wholly or beside some values of another parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from study.hyperparameters import Scalar
from study.space import without_values
from study.spec import Choice, Condition, Constant, Exclusion, Integer, Parameter, StudySpec, same_value


def admitted_values(spec: StudySpec, name: str) -> tuple[Scalar, ...]:
    """Return every value a hyperparameter may take in a study; for one that some trials lack, its fixed value too.

    Raises:
        ValueError: it is searched over a continuous range.
    """
    searched = next((one for one in spec.space if one.name == name), None)
    fixed: Scalar = getattr(spec.trial, name)
    if searched is None:
        return (fixed,)
    match searched.domain:
        case Choice(values=values):
            found = values
        case Constant(value=value):
            found = (value,)
        case Integer(low=low, high=high, step=step):
            found = tuple(range(low, high + 1, step))
        case _:
            raise ValueError(f"{name} must have a list of values, but is searched over a continuous range")
    lacking = bool(searched.when) and not any(same_value(fixed, one) for one in found)
    return (*found, fixed) if lacking else found


def forbid(spec: StudySpec, name: str, value: Scalar, beside: str, beside_values: Sequence[Scalar]) -> StudySpec:
    """Take a value of a choice out of a space where another parameter has one of the given values.

    Raises:
        ValueError: nothing would remain to choose from.
    """
    partner = admitted_values(spec, beside)
    searched = next((one for one in spec.space if one.name == name), None)
    everywhere = all(any(same_value(one, other) for other in beside_values) for one in partner)
    if everywhere or searched is None or not isinstance(searched.domain, Choice):
        return without_values(spec, name, [value])
    if len(searched.domain.values) == 1:
        raise ValueError(f"{name} must keep at least one value where {beside} is one of {list(beside_values)}")
    excluded = Exclusion(value=value, beside=Condition(parameter=beside, values=tuple(beside_values)))
    if excluded in searched.excluded:
        return spec
    changed = searched.model_copy(update={"excluded": (*searched.excluded, excluded)})
    space = [changed if one.name == name else one for one in spec.space]
    ordered = _in_order(space)
    if ordered is None:  # the other parameter hangs on this one, so it cannot be known first
        return without_values(spec, name, [value])
    return spec.model_copy(update={"space": ordered})


def _in_order(space: Iterable[Parameter]) -> tuple[Parameter, ...] | None:
    """Order parameters after all they depend on, else as they stand; None for a cycle."""
    waiting = list(space)
    names = {one.name for one in waiting}
    done: dict[str, Parameter] = {}
    while waiting:
        ready = next((one for one in waiting if all(need in done for need in _needs(one) & names)), None)
        if ready is None:
            return None
        waiting.remove(ready)
        done[ready.name] = ready
    return tuple(done.values())


def _needs(parameter: Parameter) -> set[str]:
    return {one.parameter for one in parameter.when} | {one.beside.parameter for one in parameter.excluded}

"""The differences between two versions of a study, and whether the later one only extends the earlier; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Constant, Domain, Parameter
from study.config.study_config import StudySpec
from study.designs.formatting import format_parameter
from study.designs.space import is_continuous, values_of
from study.utils.text import show, show_bare

_ALWAYS_EXTEND = ("resources.max_concurrent_trials", "resources.worker_retries")
_IGNORED = ("name", "objectives")
_MISSING = "nothing"
_SPACE = "space."
_SHIFTED = "data.shifted."


@dataclass(frozen=True)
class Change:
    """A field that differs; it ``extends`` if every trial so far could have been run with the new value."""

    field: str
    before: object
    after: object
    extends: bool

    def __str__(self) -> str:
        return f"{show_bare(self.field)}: {_text(self.before)} -> {_text(self.after)}"


def changes(before: StudySpec, after: StudySpec) -> tuple[Change, ...]:
    """Return every field that differs, in the order of the study file; the name is not compared.

    Of a parameter of a complete design the order of its levels is not compared.
    """
    old, new = _flat(before), _flat(after)
    gains = _is_complete(before) and _is_complete(after)
    return tuple(
        Change(field, old.get(field, _MISSING), new.get(field, _MISSING), _extends(field, old, new, gains))
        for field in dict.fromkeys((*old, *new))
        if not _is_same(old.get(field, _MISSING), new.get(field, _MISSING), gains)
    )


def with_levels(
    space: Sequence[Parameter], other: Sequence[Parameter], known: Sequence[Parameter] = ()
) -> tuple[Parameter, ...]:
    """Return a space with the values that ``other`` has more, put after its own.

    Args:
        space: what to add to.
        other: another version of it.
        known: values of this version are not added.
    """
    by_name, listed = ({parameter.name: parameter for parameter in version} for version in (other, known))
    return tuple(
        _with_levels(parameter, by_name[parameter.name].domain, listed.get(parameter.name, parameter).domain)
        if parameter.name in by_name
        else parameter
        for parameter in space
    )


def _with_levels(parameter: Parameter, other: Domain, known: Domain) -> Parameter:
    if any(is_continuous(domain) or isinstance(domain, Constant) for domain in (parameter.domain, other, known)):
        return parameter
    own, listed = values_of(parameter.domain), {*map(_key, values_of(known))}
    more = [value for value in values_of(other) if _key(value) not in listed.union(map(_key, own))]
    return parameter.model_copy(update={"domain": Choice(values=(*own, *more))}) if more else parameter


def _key(value: Scalar) -> tuple[bool, Scalar]:
    """Return what two equal values share: true is not 1."""
    return isinstance(value, bool), value


def _is_complete(spec: StudySpec) -> bool:
    """Whether a design runs all points of its kind, so that each stays one when a factor gets another level."""
    return spec.design.kind in ("grid", "one_factor", "factorial") and spec.design.resolution is None


def _flat(spec: StudySpec) -> dict[str, object]:
    """Return the fields by dotted name; each parameter is one field, and so are the objectives and the seeds."""
    values: dict[str, Any] = {**spec.model_dump(exclude={*_IGNORED, "space", "replicates", "objective"})}
    values["objective"] = [f"{objective.mode} {objective.metric}" for objective in spec.objective_list]
    values["space"] = {parameter.name: parameter for parameter in spec.space}
    values["replicates"] = {"seeds": list(spec.replicates.numbers)}
    values["budget"]["wall_clock"] = spec.budget.wall_clock_s
    values["search"]["pruner"] = spec.pruner
    return dict(_leaf_fields(values))


def _leaf_fields(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            yield from _leaf_fields(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def _is_same(before: object, after: object, gains: bool) -> bool:
    if before == after:
        return True
    if not gains or not isinstance(before, Parameter) or not isinstance(after, Parameter):
        return False
    return _has_all_levels(before, after) and _has_all_levels(after, before)


def _has_all_levels(parameter: Parameter, other: Parameter) -> bool:
    """Whether a parameter exists where the other does, and has all of its values."""
    if (parameter.when, parameter.excluded) != (other.when, other.excluded):
        return False
    if any(is_continuous(domain) or isinstance(domain, Constant) for domain in (parameter.domain, other.domain)):
        return parameter.domain == other.domain
    return {*map(_key, values_of(other.domain))} <= {*map(_key, values_of(parameter.domain))}


def _extends(field: str, old: Mapping[str, Any], new: Mapping[str, Any], gains: bool) -> bool:
    before: Any = old.get(field)
    after: Any = new.get(field)
    if field in _ALWAYS_EXTEND:
        return True
    if field == "data.path" or field.startswith(_SHIFTED):
        return before is not None and after is not None  # whether it has the same pictures is seen when they are read
    if field.startswith(_SPACE):
        return gains and before is not None and after is not None and _has_all_levels(after, before)
    if field == "keep.per_study":
        return after == "all" or (before != "all" and bool(after > before))
    if field == "replicates.seeds":
        # A search counts its trials, so more seeds for its points take more of them.
        grows = new["design.kind"] != "search" or new["search.trials"] > old["search.trials"]
        return grows and bool(list(after or [])[: len(before)] == before)
    if field == "search.trials":
        return bool(after > before)
    if field.startswith("budget.target."):
        return True  # another target: what has run has run
    return field.startswith("budget.") and (after is None or (before is not None and after > before))


def _text(value: object) -> str:
    """Write a value as in a study file."""
    if isinstance(value, Parameter):
        return format_parameter(value)
    return "none" if value is None else show_bare(value) if isinstance(value, str) else show(value)

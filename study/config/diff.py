"""The differences between two versions of a study, and whether the later one only extends the earlier; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from study.config.study_config import StudySpec

_ALWAYS_EXTEND = ("resources.max_concurrent_trials", "resources.worker_retries")
_IGNORED = ("name", "objectives")
_MISSING = "nothing"


@dataclass(frozen=True)
class Change:
    """A field that differs; it ``extends`` if every trial so far could have been run with the new value."""

    field: str
    before: object
    after: object
    extends: bool

    def __str__(self) -> str:
        return f"{self.field}: {_text(self.before)} -> {_text(self.after)}"


def changes(before: StudySpec, after: StudySpec) -> tuple[Change, ...]:
    """Return every field that differs, in the order of the study file; the name is not compared."""
    old, new = _flat(before), _flat(after)
    fields = dict.fromkeys((*old, *new))
    return tuple(
        Change(field, old.get(field, _MISSING), new.get(field, _MISSING), _extends(field, old, new))
        for field in fields
        if old.get(field, _MISSING) != new.get(field, _MISSING)
    )


def _flat(spec: StudySpec) -> dict[str, object]:
    """Return the fields by dotted name; each parameter is one field, and so are the objectives and the seeds."""
    values: dict[str, Any] = {**spec.model_dump(exclude={*_IGNORED, "space", "replicates", "objective"})}
    values["objective"] = [f"{objective.mode} {objective.metric}" for objective in spec.objective_list]
    values["space"] = {parameter.name: parameter.model_dump(exclude={"name"}) for parameter in spec.space}
    values["replicates"] = {"seeds": list(spec.replicates.numbers)}
    values["budget"]["wall_clock"] = spec.budget.wall_clock_s
    values["search"]["pruner"] = spec.pruner
    return dict(_leaf_fields(values))


def _leaf_fields(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and above != "space.":
            yield from _leaf_fields(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def _extends(field: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    before: Any = old.get(field)
    after: Any = new.get(field)
    if field in _ALWAYS_EXTEND:
        return True
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
    return "none" if value is None else str(value)

"""Compare a document with the models: unknown keys, missing keys, wrong types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from study.config.study_config import StudySpec
from study.config_file.messages import admits, describe, example, kind_of, model_of, parts_of, reject, show, unknown_key
from study.config_file.yaml_document import Loc, Report, Tree, dotted
from study.utils.suggestions import nearest_name

_MOVED = {("search.sampler", "grid"): "; a grid is a design now: remove it and write design: grid"}


def check_model(model: type[BaseModel], value: object, loc: Loc, report: Report, skip: tuple[str, ...] = ()) -> Tree:
    """Report what a mapping has wrong and return the rest, sections as nested dicts.

    Args:
        model: what the mapping must look like.
        value: the mapping; null counts as an empty one, as a section whose lines are all commented out reads.
        loc: where it stands.
        report: takes the faults.
        skip: keys that somebody else checks.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        report.value(loc, f"{dotted(loc)} must be a mapping such as {example(model)}, got {show(value)}")
        return {}
    for key in value:
        if key not in model.model_fields:
            report.key((*loc, key), unknown_key(key, dotted(loc) or "the study file", model.model_fields, _hint(key)))
    for name, field in model.model_fields.items():
        if name not in value and field.is_required():
            what = describe(kind_of(model, name))
            report.key((*loc, name), f"{dotted((*loc, name))} is missing; it must be {what}")
    known = (name for name in model.model_fields if name in value and name not in skip)
    sound = ((name, _check_value(kind_of(model, name), value[name], (*loc, name), report)) for name in known)
    return {name: checked for name, checked in sound if not isinstance(checked, _Nothing)}


class _Nothing:
    """A value that could not be used."""


def _check_value(kind: Any, value: object, loc: Loc, report: Report) -> Any:
    """Return a value with sections as nested dicts, after reporting what is wrong in it."""
    if (model := model_of(kind)) is not None:
        return check_model(model, value, loc, report)
    if (parts := parts_of(kind, value)) is not None:
        checked = {key: _check_value(item, one, (*loc, key), report) for key, item, one in parts}
        if any(isinstance(one, _Nothing) for one in checked.values()):
            return _Nothing()
        return checked if isinstance(value, dict) else list(checked.values())
    if admits(kind, value):
        return value
    moved = _MOVED.get((dotted(loc), value), "") if isinstance(value, str) else ""
    report.value(loc, reject(dotted(loc), kind, value) + moved)
    return _Nothing()


def section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of a field that is a section, None for a plain value."""
    return model_of(kind_of(model, name))


def _hint(key: str) -> str:
    """Say which section knows this key, exactly or nearly."""
    sections = {name: section for name in StudySpec.model_fields if (section := section_of(StudySpec, name))}
    if key in sections:
        return f"; `{key}` is a section of its own, at the left margin"
    for near in (False, True):
        for name, section in sections.items():
            found = nearest_name(key, section.model_fields) if near else key
            if found in section.model_fields and (not near or len(key) > 3):
                return f"; did you mean `{name}.{found}`?"
    return ""

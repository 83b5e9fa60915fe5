"""Check a document against the models: unknown keys, missing keys, wrong types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from study.config.study_config import StudySpec
from study.config_file.messages import (
    admits,
    describe,
    example,
    field_type,
    model_of,
    parts_of,
    reject,
    show,
    unknown_key,
)
from study.config_file.yaml_document import Loc, Report, Tree, dotted
from study.utils.suggestions import nearest_name

_MOVED = {("search.sampler", "grid"): "; a grid is a design now: remove it and write design: grid"}


def check_model(model: type[BaseModel], value: object, loc: Loc, report: Report, skip: tuple[str, ...] = ()) -> Tree:
    """Report the faults of a mapping and return its valid values, sections as nested dicts.

    Args:
        model: what the mapping must look like.
        value: the mapping; null counts as empty, as in a section whose lines are all commented out.
        loc: where it stands.
        report: takes the faults.
        skip: keys that are checked elsewhere.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        report.at_value(loc, f"{dotted(loc)} must be a mapping such as {example(model)}, got {show(value)}")
        return {}
    for key in value:
        if key not in model.model_fields:
            report.at_key(
                (*loc, key), unknown_key(key, dotted(loc) or "the study file", model.model_fields, _hint(key))
            )
    for name, field in model.model_fields.items():
        if name not in value and field.is_required():
            what = describe(field_type(model, name))
            report.at_key((*loc, name), f"{dotted((*loc, name))} is missing; it must be {what}")
    known = (name for name in model.model_fields if name in value and name not in skip)
    sound = ((name, _check_value(field_type(model, name), value[name], (*loc, name), report)) for name in known)
    return {name: checked for name, checked in sound if not isinstance(checked, _Invalid)}


class _Invalid:
    """Stands for a value with a fault."""


def _check_value(kind: Any, value: object, loc: Loc, report: Report) -> Any:
    """Return a value with sections as nested dicts, after reporting what is wrong in it."""
    if (model := model_of(kind)) is not None:
        return check_model(model, value, loc, report)
    if (parts := parts_of(kind, value)) is not None:
        checked = {key: _check_value(item, element, (*loc, key), report) for key, item, element in parts}
        if any(isinstance(element, _Invalid) for element in checked.values()):
            return _Invalid()
        return checked if isinstance(value, dict) else list(checked.values())
    if admits(kind, value):
        return value
    moved = _MOVED.get((dotted(loc), value), "") if isinstance(value, str) else ""
    report.at_value(loc, reject(dotted(loc), kind, value) + moved)
    return _Invalid()


def section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of a field that is a section, None for a plain value."""
    return model_of(field_type(model, name))


def _hint(key: str) -> str:
    """Return the section that has this key or the nearest one."""
    sections = {name: section for name in StudySpec.model_fields if (section := section_of(StudySpec, name))}
    if key in sections:
        return f"; `{key}` is a section of its own, at the left margin"
    for near in (False, True):
        for name, section in sections.items():
            field = nearest_name(key, section.model_fields) if near else key
            if field in section.model_fields and (not near or len(key) > 3):
                return f"; did you mean `{name}.{field}`?"
    return ""

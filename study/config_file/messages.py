"""What a key of a study file admits, in plain words, what it got instead, and the way out; from the models' schema."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from study.config.augmentation_spec import OPERATIONS, PRESETS
from study.config.hyperparameters import Frozen, Scalar
from study.config.study_config import StudySpec
from study.config_file.yaml_document import Loc, Tree
from study.utils.suggestions import did_you_mean, nearest_name, usual_name
from study.utils.text import shorten, show, show_bare

Schema: TypeAlias = dict[str, Any]
"""A JSON schema with its reference resolved."""

DEFAULTS = StudySpec(name="defaults")
SECTIONS = {name: type(value) for name, value in DEFAULTS if isinstance(value, Frozen)}
_NOUNS = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
_PLURALS = {"a whole number": "whole numbers", "a number": "numbers"}
_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_LONGEST_TUPLE = 3
_MOST_EXACT = 2**53


@functools.cache
def _root() -> Schema:
    return StudySpec.model_json_schema()


def schema_at(loc: Loc) -> Schema | None:
    """Return the schema of a key or an item by its path, None where the models have none."""
    schema = _root()
    for part in loc:
        if isinstance(part, int):
            items = schema.get("prefixItems", ())
            child = items[part] if part < len(items) else schema.get("items")
        else:
            child = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
        if not child:
            return None
        schema = _resolved(child)
    return schema


def _resolved(schema: Schema) -> Schema:
    """Return a schema without a reference or a null beside a single alternative."""
    schema = _root()["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return members[0] if len(members := alternatives(schema)) == 1 else schema


def alternatives(schema: Schema) -> list[Schema]:
    """Return the members of a union without null, or the schema itself."""
    return [member for member in schema.get("anyOf", [schema]) if member.get("type") != "null"]


def listed_values(schema: Schema) -> list[Scalar]:
    """Return the values that a schema lists, beside whatever else it admits."""
    return [
        value
        for member in alternatives(schema)
        for value in member.get("enum", [member["const"]] if "const" in member else [])
    ]


def describe(schema: Schema) -> str:
    """Describe what a schema admits: "a whole number >= 1 and <= 10000"."""
    members = alternatives(schema)
    if len(members) > 1:
        is_real = any(member.get("type") == "number" for member in members)
        return " or ".join(describe(member) for member in members if not (is_real and member.get("type") == "integer"))
    schema, *_ = members
    if "properties" in schema:
        return f"a mapping such as {_example(schema)}"
    if listed := listed_values(schema):
        return f"one of {', '.join(map(show_bare, listed))}" if len(listed) > 1 else show_bare(listed[0])
    if "description" in schema:
        return str(schema["description"])
    if schema["type"] == "array":
        return _describe_list(schema)
    if schema["type"] == "object":
        return f"a mapping from text to {describe(schema['additionalProperties'])}"
    if "maxLength" in schema:
        return f"text of {schema['minLength']} to {schema['maxLength']} characters"
    limits = [f"{sign} {schema[name]}" for name, sign in _BOUNDS if name in schema]
    return f"{_NOUNS[schema['type']]} {' and '.join(limits)}".rstrip()


def _describe_list(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])} values"
    item = describe(_resolved(schema["items"]))
    noun = next((noun for noun in _PLURALS if item.startswith(noun)), "")
    return f"a list of {_PLURALS[noun]}{item.removeprefix(noun)}" if noun else f"a list, each {item}"


def _example(schema: Schema) -> str:
    """Return an example of a mapping, with its required keys."""
    return f"{{{', '.join(f'{name}: ...' for name in schema.get('required') or list(schema['properties'])[:1])}}}"


def schema_errors(tree: Tree) -> list[ErrorDetails]:
    """Return what pydantic finds in a whole document."""
    try:
        StudySpec.model_validate(tree)
    except ValidationError as exc:
        return exc.errors(include_url=False)
    return []


def _errors_at(loc: Loc, value: object) -> list[ErrorDetails]:
    """Return what pydantic finds in the value of a key."""
    loc = tuple(min(part, _LONGEST_TUPLE - 1) if isinstance(part, int) else part for part in loc)
    tree: Any = value
    for part in reversed(loc):
        tree = {part: tree} if isinstance(part, str) else [tree] * (part + 1)
    return [error for error in schema_errors(tree) if error["loc"][: len(loc)] == loc]


def admits(loc: Loc, value: object) -> bool:
    """Whether a key takes a value; an int is a real number too, true is no number."""
    return not _errors_at(loc, value)


def reject(title: str, loc: Loc, value: object, written: str = "") -> str | None:
    """Return the message for a value that a key does not admit, with the way out; None for one that it does.

    Args:
        title: how the message calls the key.
        loc: the key, by its path in a study file.
        value: what it got.
        written: a number as it stands in the file.
    """
    errors, schema = _errors_at(loc, value), schema_at(loc)
    if not errors:
        return None
    assert schema is not None
    if value is None:
        return f"{title} has no value; it must be {describe(schema)}"
    takes = functools.partial(admits, loc)
    if own := next((error["ctx"]["error"] for error in errors if error["type"] == "value_error"), None):
        return f"{title}: {own}{_nearest_augmentation(value) or _unit_way_out(takes, value)}"
    return refusal(title, describe(schema), value, takes, written, listed_values(schema))


def refusal(
    title: str,
    what: str,
    value: object,
    takes: Callable[[object], bool],
    written: str = "",
    listed: Iterable[Scalar] = (),
) -> str:
    """Return the message for a value that is not what it must be, with the way out."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{title} must be finite, got {show(value)}"
    written = written or show_bare(value)
    got = written if isinstance(value, int | float) else show(value)
    return f"{title} must be {what}, got {got}{_way_out(takes, value, written, listed)}"


def _way_out(takes: Callable[[object], bool], value: object, written: str, listed: Iterable[Scalar]) -> str:
    if isinstance(value, str):
        if any(takes(plain) for plain in _unquoted(value)):
            return "; remove the quotes"
        return did_you_mean(value, [choice for choice in listed if isinstance(choice, str)])
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT and takes(int(value)):
        return f"; write {int(value)}"
    if isinstance(value, int | float) and takes(written):
        return f'; put it in quotes: "{written}"'
    return _unit_way_out(takes, value)


def _unquoted(text: str) -> list[Scalar]:
    """Return what a text could be without its quotes."""
    read: list[Scalar] = [plain for name, plain in (("true", True), ("false", False)) if text == name]
    for number in (int, float):
        try:
            read.append(number(text))
        except ValueError:
            continue
    return read


def _unit_way_out(takes: Callable[[object], bool], value: object) -> str:
    """Return how to write a bare number where a duration is meant."""
    plain = show_bare(value).strip()
    is_meant = bool(_unquoted(plain)) and takes(f"{plain} min")
    return f"; write {plain} s, {plain} min or {plain} h" if is_meant else ""


def _nearest_augmentation(value: object) -> str:
    known = (*PRESETS, *OPERATIONS)
    unknown = (word for word in re.findall(r"(?:^|\+)\s*([^\W\d]+)", str(value)) if word not in known)
    return did_you_mean(next(unknown, ""), known)


def repeated(values: Sequence[object]) -> dict[int, object]:
    """Return the places of values that are equal to an earlier one, with that one; lists and mappings are none."""
    first: dict[Hashable, object] = {}
    places: dict[int, object] = {}
    for at, value in enumerate(values):
        if isinstance(value, Hashable) and value in first:
            places[at] = first[value]
        elif isinstance(value, Hashable):
            first[value] = value
    return places


def unknown_key(key: str, where: str, known: Iterable[str], *, alone: bool = False) -> str:
    """Return the message for an unknown key, with the one that is meant and all there are.

    Args:
        key: as written.
        where: what lacks it.
        known: the keys it has.
        alone: whether no other section can be meant.
    """
    names = list(known)
    usual, near = usual_name(key, names), nearest_name(key, names)
    if usual or (near and alone):
        meant = f"; did you mean `{usual or near}`?"
    else:
        meant = "" if alone else _section_with(key, usual_name) or did_you_mean(key, names) or _section_with(key)
    stop = "" if meant.endswith("?") else "."
    return f"unknown key `{shorten(key)}` in {where}{meant}{stop} Known: {', '.join(names)}"


def _section_with(key: str, find: Callable[[str, Iterable[str]], str | None] = nearest_name) -> str:
    """Return a hint at the section that has this key or the one that is meant."""
    if key in SECTIONS:
        return f"; `{key}` is a section of its own, at the left margin"
    fields = {name: section.model_fields for name, section in SECTIONS.items()}
    exact = ((name, key) for name, known in fields.items() if key in known)
    meant = ((name, find(key, known)) for name, known in fields.items() if len(key) > 3 or find is usual_name)
    return next((f"; did you mean `{name}.{field}`?" for name, field in (*exact, *meant) if field), "")

"""Messages in plain words: what a field admits, what it got instead, and the way out."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from study.config.augmentation_spec import OPERATIONS, PRESETS, check_augmentation
from study.config.hyperparameters import Scalar
from study.utils.suggestions import did_you_mean

_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_PLURALS = {"a whole number": "whole numbers", "a number": "numbers"}
_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
_VOCABULARY: dict[object, tuple[str, ...]] = {check_augmentation: (*PRESETS, *OPERATIONS)}


@functools.cache
def field_type(model: type[BaseModel], name: str) -> Any:
    """Return the type of a field with its bounds and description, as one annotation."""
    field = model.model_fields[name]
    metadata = [*field.metadata, *([FieldInfo(description=field.description)] if field.description else [])]
    return Annotated[(field.annotation, *metadata)] if metadata else field.annotation


def unwrap(kind: Any) -> tuple[Any, dict[str, Any]]:
    """Split an annotation into the bare type and its constraints by name.

    The names are ge, gt, le, lt, min_length, max_length; description; func, which checks the value further.
    """
    if get_origin(kind) is not Annotated:
        return kind, {}
    core, *metadata = get_args(kind)
    bounds: dict[str, Any] = {}
    for item in metadata:
        for constraint in (item, *item.metadata) if isinstance(item, FieldInfo) else [item]:
            names = ("ge", "gt", "le", "lt", "min_length", "max_length", "description", "func")
            bounds |= {name: limit for name in names if (limit := getattr(constraint, name, None)) is not None}
    return core, bounds


def members(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union without null, or the type itself."""
    core, _ = unwrap(kind)
    if get_origin(core) in (Union, UnionType):
        return tuple(member for member in get_args(core) if member is not NoneType)
    return (kind,)


def listed_values(kind: Any) -> tuple[Scalar, ...] | None:
    """Return the values of a type that lists them all, None for one that does not."""
    values: list[Scalar] = []
    for member in members(kind):
        core, _ = unwrap(member)
        if get_origin(core) is not Literal:
            return None
        values += get_args(core)
    return tuple(values)


def numbers_of(kind: Any) -> frozenset[type]:
    """Return which of int and float a type has among its alternatives."""
    return frozenset(core for member in members(kind) if (core := unwrap(member)[0]) in (int, float))


def describe(kind: Any) -> str:
    """Describe what a type admits: "a whole number >= 1 and <= 10000"."""
    parts = members(kind)
    if len(parts) > 1:
        real = float in numbers_of(kind)
        return " or ".join(describe(member) for member in parts if not (real and unwrap(member)[0] is int))
    core, bounds = unwrap(parts[0])
    if (model := model_of(core)) is not None:
        return f"a mapping such as {example(model)}"
    if (listed := listed_values(core)) is not None:
        return f"one of {', '.join(map(show_bare, listed))}" if len(listed) > 1 else show_bare(listed[0])
    if "description" in bounds:
        return str(bounds["description"])
    if get_origin(core) is tuple:
        return _describe_list(get_args(core))
    if get_origin(core) is dict:
        return f"a mapping from {' to '.join(map(describe, get_args(core)))}"
    if "max_length" in bounds:
        return f"text of {bounds.get('min_length', 0)} to {bounds['max_length']} characters"
    limits = [f"{sign} {bounds[name]}" for name, sign in _BOUNDS if name in bounds]
    return f"{_NOUNS.get(core, core)} {' and '.join(limits)}".rstrip()


def _describe_list(items: tuple[Any, ...]) -> str:
    if Ellipsis not in items:
        return f"a list of {len(items)} values"
    item = describe(items[0])
    noun = next((noun for noun in _PLURALS if item.startswith(noun)), "")
    return f"a list of {_PLURALS[noun]}{item.removeprefix(noun)}" if noun else f"a list, each {item}"


def parts_of(kind: Any, value: object) -> list[tuple[int | str, Any, Any]] | None:
    """Return key, kind and value of each item of a list or mapping of the right form; None for anything else."""
    alternatives = members(kind)
    core, _ = unwrap(alternatives[0]) if len(alternatives) == 1 else (None, {})
    origin, kinds = get_origin(core), get_args(core)
    if origin is dict and isinstance(value, dict):
        return [(key, kinds[1], item) for key, item in value.items()]
    if origin is not tuple or not isinstance(value, list):
        return None
    if Ellipsis in kinds:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        return None
    return [(at, item, element) for at, (item, element) in enumerate(zip(kinds, value, strict=True))]


def model_of(kind: Any) -> type[BaseModel] | None:
    """Return the model that values of a type must look like, None for a plain type."""
    alternatives = members(kind)
    core, _ = unwrap(alternatives[0])
    is_model = len(alternatives) == 1 and isinstance(core, type) and issubclass(core, BaseModel)
    return core if is_model else None


def example(model: type[BaseModel]) -> str:
    """Return an example of a mapping that a model reads, with its required fields."""
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    return f"{{{', '.join(f'{name}: ...' for name in required or list(model.model_fields)[:1])}}}"


def is_list(kind: Any) -> bool:
    """Whether a type admits lists only, so that no single value can be one of it."""
    return get_origin(unwrap(kind)[0]) is tuple


@functools.lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def admits(kind: Any, value: object) -> bool:
    """Whether a type takes a value as it is; an int is a real number too, true is no number."""
    for member in members(kind):
        core, _ = unwrap(member)
        if get_origin(core) is Literal:
            # pydantic's Literal takes 18.0 for 18 and 1 for true
            if any(type(value) is type(listed) and value == listed for listed in get_args(core)):
                return True
        elif _validates(member, value):
            return True
    return value is None and NoneType in get_args(unwrap(kind)[0])


def _validates(kind: Any, value: object) -> bool:
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def reject(name: str, kind: Any, value: object) -> str:
    """Return the message for a value that is not admitted, with the way out."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{name} must be finite, got {show(value)}"
    if value is None and not admits(kind, value):
        return f"{name} has no value; it must be {describe(kind)}"
    if (own := _own_message(kind, value)) is not None:
        return f"{name}: {own}{_nearest_word(kind, value) or _unit_way_out(kind, value)}"
    return f"{name} must be {describe(kind)}, got {show(value)}{_way_out(kind, value)}"


def _own_message(kind: Any, value: object) -> str | None:
    """Return the message of a type's own check, None where it has none or is not reached."""
    if "func" not in unwrap(members(kind)[0])[1]:
        return None
    try:
        _adapter(kind).validate_python(value)
    except ValidationError as exc:
        raised = exc.errors()[0].get("ctx", {}).get("error")
        return str(raised) if isinstance(raised, ValueError) else None
    return None


def _nearest_word(kind: Any, value: object) -> str:
    """Return a "did you mean" for the first word of a text that its vocabulary lacks."""
    known = _VOCABULARY.get(unwrap(members(kind)[0])[1]["func"], ())
    unknown = (word for word in re.findall(r"(?:^|\+)\s*([^\W\d]+)", str(value)) if word not in known)
    return did_you_mean(next(unknown, ""), known)


def _way_out(kind: Any, value: object) -> str:
    if isinstance(value, str):
        for plain, known in (("true", True), ("false", False)):
            if value == plain and admits(kind, known):
                return "; remove the quotes"
        if any(admits(kind, number) for number in _numbers(value)):
            return "; remove the quotes"
        listed = [choice for member in members(kind) for choice in listed_values(member) or ()]
        return did_you_mean(value, [choice for choice in listed if isinstance(choice, str)])
    if isinstance(value, float) and value.is_integer() and admits(kind, int(value)):
        return f"; write {int(value)}"
    if isinstance(value, int | float | bool) and admits(kind, show_bare(value)):
        return f'; put it in quotes: "{show_bare(value)}"'
    return _unit_way_out(kind, value)


def _unit_way_out(kind: Any, value: object) -> str:
    """Return how to write a bare number where a duration is meant."""
    plain = show_bare(value).strip()
    is_meant = bool(_numbers(plain)) and admits(kind, f"{plain} min")
    return f"; write {plain} s, {plain} min or {plain} h" if is_meant else ""


def _numbers(text: str) -> list[int | float]:
    numbers: list[int | float] = []
    for read in (int, float):
        try:
            numbers.append(read(text))
        except ValueError:
            continue
    return numbers


def show(value: object) -> str:
    """Write a value as in the study file, cut short; text stands in quotes."""
    if isinstance(value, float) and not math.isfinite(value):
        return show_bare(value)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, float):
        return repr(value)
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= 60 else f"{written[:57]}..."


def show_bare(value: object) -> str:
    """Write a scalar without quotes."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value if isinstance(value, str) else show(value)


def unknown_key(key: str, where: str, known: Iterable[str], hint: str = "") -> str:
    """Return the message for an unknown key, with the nearest name and all of them."""
    names = list(known)
    meant = did_you_mean(key, names) or hint
    stop = "" if meant.endswith("?") else "."
    return f"unknown key `{key}` in {where}{meant}{stop} Known: {', '.join(names)}"

"""Check a document against the models: unknown keys, missing keys, wrong types."""

from __future__ import annotations

import copy
from typing import Any

from study.config_file.messages import describe, refusal, reject, schema_at, schema_errors, unknown_key
from study.config_file.yaml_document import Loc, Report, Tree, dotted


def check_schema(document: Tree, report: Report) -> Tree:
    """Report what of a document is not as the models have it, and return the rest.

    A section without a value counts as empty, as its lines may all be commented out. `space` is not checked here.
    """
    tree = copy.deepcopy({name: value for name, value in document.items() if name != "space"})
    for name, value in tree.items():
        if value is None and "properties" in (schema_at((name,)) or {}):
            tree[name] = {}
    _take_out_grid(tree, report)
    faulty = dict.fromkeys(_report(error["type"], error["loc"], tree, report) for error in schema_errors(tree))
    for loc in faulty:
        _drop(tree, loc)
    return tree


def _report(kind: str, error_loc: Loc, tree: Tree, report: Report) -> Loc:
    """Report one of pydantic's errors, each place once, and return the place."""
    loc, value = _known_part(error_loc, tree)
    lost = error_loc[: len(loc) + 1]
    if kind == "missing" and isinstance(value, dict):
        report.at_key(lost, f"{dotted(lost)} is missing; it must be {describe(schema_at(lost) or {})}")
        return lost
    if kind == "extra_forbidden":
        *above, key = loc
        names = (schema_at(tuple(above)) or {})["properties"]
        where = dotted(tuple(above)) or "the study file"
        report.at_key(loc, unknown_key(str(key), where, names))
    elif not report.is_faulty(*loc) and (message := reject(dotted(loc), loc, value, report.written(loc))):
        report.at_value(loc, message)
    return loc


def _known_part(loc: Loc, tree: Any) -> tuple[Loc, Any]:
    """Return the part of a pydantic path that the document and the models have, and the value there.

    Pydantic adds the members of a union, and items that a list lacks.
    """
    for end, part in enumerate(loc):
        here = isinstance(tree, dict) and part in tree
        here = here or (isinstance(tree, list) and isinstance(part, int) and part < len(tree))
        is_unknown_key = end + 1 == len(loc) and isinstance(tree, dict)
        if not here or (schema_at(loc[: end + 1]) is None and not is_unknown_key):
            return loc[:end], tree
        tree = tree[part]
    return loc, tree


def _drop(tree: Any, loc: Loc) -> None:
    """Remove the innermost field that a faulty place belongs to."""
    while len(loc) > 1 and "properties" not in (schema_at(loc[:-1]) or {}):
        loc = loc[:-1]
    for part in loc[:-1]:
        tree = tree.get(part, {}) if isinstance(tree, dict) else tree[part]
    tree.pop(loc[-1], None)


def _take_out_grid(tree: Tree, report: Report) -> None:
    """Report the grid that was a sampler once; the models still read it, for studies of then."""
    search, loc = tree.get("search"), ("search", "sampler")
    if isinstance(search, dict) and search.get("sampler") == "grid":
        rule = refusal("search.sampler", describe(schema_at(loc) or {}), search.pop("sampler"), lambda value: False)
        report.at_value(loc, f"{rule}; a grid is a design now: remove it and write design: grid")

"""Write command-line options over the values of a study file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from study.errors import Fault
from study.spec_file.document import Document, Place, Tree, parse
from study.spec_file.report import dotted
from study.spec_file.words import show

_SOURCE_KEYS = {"faces": ("count", "classes"), "folder": ("path", "group_by", "classes", "shifted")}


def apply_overrides(document: Document, overrides: Sequence[str], name: str | None, trials: int | None) -> None:
    """Set dotted keys in a document whose root is a mapping; faults carry the option as written."""
    for override in overrides:
        _apply(document, override)
    if name is not None:
        _set(document, ["name"], name, f"--name {name}")
    if trials is not None:
        section = "search" if _is_search(document) else "budget"
        _set(document, [section, "trials"], trials, f"--trials {trials}")
    _leave_other_source(document)
    _leave_other_seeds(document)
    _leave_trials(document)


def _is_search(document: Document) -> bool:
    """Whether a sampler chooses the points, so that their number is the search's."""
    design = document.value.get("design")
    return (design.get("kind") if isinstance(design, dict) else design) in (None, "search")


def _apply(document: Document, override: str) -> None:
    origin = f"--set {override}"
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        document.faults.append(Fault(f"{origin}: must be key=value with a dotted key, such as trial.max_epochs=1"))
        return
    parsed = parse(text)
    if parsed.faults:
        document.faults += [Fault(f"{origin}: the value {fault.message}") for fault in parsed.faults]
        return
    _set(document, path, parsed.value, origin)


def _set(document: Document, path: list[str], value: Any, origin: str) -> None:
    """Set one value, making the mappings above it where they are missing."""
    tree: Tree = document.value
    place = Place(origin=origin)
    for depth, key in enumerate(path[:-1], start=1):
        loc = tuple(path[:depth])
        if tree.get(key) is None:
            tree[key] = {}
            document.places.replace(loc, place)
        if not isinstance(tree[key], dict):
            whole = f"--set {dotted(loc)}='{{{path[depth]}: ...}}'"
            message = f"{origin}: {dotted(loc)} is {show(tree[key])}, which has no keys; set it whole: {whole}"
            document.faults.append(Fault(message))
            return
        tree = tree[key]
    tree[path[-1]] = value
    document.places.replace(tuple(path), place)


def _leave_other_source(document: Document) -> None:
    """Let ``--set data.source`` leave aside what the file says for the other source only."""
    data = document.value.get("data")
    if not isinstance(data, dict) or not document.places.value(("data", "source")).origin:
        return
    for source, keys in _SOURCE_KEYS.items():
        for key in keys:
            if source != data.get("source") and not document.places.value(("data", key)).origin:
                data.pop(key, None)


def _leave_other_seeds(document: Document) -> None:
    """Let ``--set replicates.count`` leave aside the seeds that the file lists, and the other way round."""
    replicates, places = document.value.get("replicates"), document.places
    for given, other in (("count", "seeds"), ("seeds", "count")):
        set_here = bool(places.value(("replicates", given)).origin)
        if isinstance(replicates, dict) and set_here and not places.value(("replicates", other)).origin:
            replicates.pop(other, None)


def _leave_trials(document: Document) -> None:
    """Let ``--set design`` leave aside how many trials the file gives for a search."""
    search = document.value.get("search")
    if _is_search(document) or not isinstance(search, dict) or not document.places.value(("design", "kind")).origin:
        return
    if not document.places.value(("search", "trials")).origin:
        search.pop("trials", None)

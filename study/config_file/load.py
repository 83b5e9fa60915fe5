"""Load a study file into a checked StudySpec, or report all of its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.config.study_config import SOURCE_KEYS, SourceKeys, StudySpec
from study.config_file.conditions import link
from study.config_file.data_rules import DATA_RULES, Candidate
from study.config_file.domains import read_space
from study.config_file.objective_rules import OBJECTIVE_RULES
from study.config_file.schema_check import check_schema
from study.config_file.search_rules import SEARCH_RULES
from study.config_file.training_rules import TRAINING_RULES
from study.config_file.yaml_document import (
    MOST_FAULTS,
    Document,
    Place,
    Report,
    TooManyFaultsError,
    Tree,
    dotted,
    parse,
)
from study.errors import Fault, SpecError
from study.utils.suggestions import nearest_name
from study.utils.text import first_of, printable, shorten, show

_MOST_BYTES = 1_000_000
_MOST_NAMED = 10
_LONGEST_MESSAGE = 1500
_OPEN_FILES = ("/dev/fd/", "/dev/stdin", "/proc/")
"""Where a shell puts the pipes of `<(...)`, and the standard input; a pipe in /dev/shm is a user's."""


def apply_overrides(document: Document, overrides: Sequence[str], name: str | None, trials: int | None) -> None:
    """Set dotted keys in a document whose root is a mapping; faults carry the option as written."""
    for override in overrides:
        _apply(document, override)
    if name is not None:
        _set(document, ["name"], name, f"--name {name}")
    if trials is not None:
        section = "search" if _is_search(document) else "budget"
        _set(document, [section, "trials"], trials, f"--trials {trials}")
    _remove_superseded(document)


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


def _remove_superseded(document: Document) -> None:
    """Remove what the file says that does not go with the source, the seeds or the design that an option chose."""
    data = document.value.get("data")
    if isinstance(data, dict) and _is_from_option(document, "data", "source"):
        chosen = SOURCE_KEYS.get(str(data.get("source")), SourceKeys(own=()))
        for keys in SOURCE_KEYS.values():
            for key in {*keys.own, *keys.ambiguous} - {*chosen.own} if keys is not chosen else ():
                _remove(document, "data", key)
    for given, other in (("count", "seeds"), ("seeds", "count")):
        if _is_from_option(document, "replicates", given):
            _remove(document, "replicates", other)
    if _is_from_option(document, "design", "kind") and not _is_search(document):
        _remove(document, "search", "trials")


def _remove(document: Document, section: str, key: str) -> None:
    tree = document.value.get(section)
    if isinstance(tree, dict) and not _is_from_option(document, section, key):
        tree.pop(key, None)


def _is_from_option(document: Document, *loc: str) -> bool:
    return bool(document.places.value(loc).origin)


@dataclass(frozen=True)
class LoadedSpec:
    """A study file after every check; ``text`` is the file as read, before any override."""

    spec: StudySpec
    text: str
    path: Path


def load_spec(
    path: Path, overrides: Sequence[str] = (), *, name: str | None = None, trials: int | None = None
) -> LoadedSpec:
    """Read and check a study file; relative paths in it are relative to the current directory.

    Args:
        path: a YAML 1.2 file.
        overrides: ``key=value`` with dotted keys, the value in YAML 1.2; later ones win.
        name: replaces the file's name.
        trials: replaces the file's search.trials, or budget.trials where a design lists its points.

    Raises:
        SpecError: every fault at once, sorted by place; those of an option carry it instead of a place.
    """
    return load_text(_read_text(path), path, overrides, name=name, trials=trials)


def load_text(
    text: str, path: Path, overrides: Sequence[str] = (), *, name: str | None = None, trials: int | None = None
) -> LoadedSpec:
    """Check the text of a study file as ``load_spec`` does; ``path`` is where it is, or would be."""
    document = parse(text)
    _check_root(path, document)
    apply_overrides(document, overrides, name, trials)
    _spell_out_design(document)
    report = Report(document.places, document.faults)
    try:
        spec = _check(document, report)
    except TooManyFaultsError:
        spec = None
    if spec is None:
        raise _refusal(path, report.faults)
    return LoadedSpec(spec, text, path)


def _refusal(path: Path, faults: Sequence[Fault]) -> SpecError:
    """Return the first faults of a file as one error, in text that any terminal can show."""
    shown = [replace(fault, message=shorten(fault.message, _LONGEST_MESSAGE)) for fault in faults[:MOST_FAULTS]]
    more = [Fault(f"has more faults than these {MOST_FAULTS}")] if len(faults) >= MOST_FAULTS else []
    return SpecError(printable(str(path)), [*more, *shown])


def _check(document: Document, report: Report) -> StudySpec | None:
    tree = check_schema(document.value, report)
    drafts = read_space(document.value.get("space"), report)
    parameters = link(drafts, tree.get("trial", {}), report)
    candidate = Candidate(tree, document.value, {parameter.name: parameter for parameter in parameters}, report)
    for rule in (*DATA_RULES, *OBJECTIVE_RULES, *TRAINING_RULES, *SEARCH_RULES):
        rule(candidate)
    if report.faults:
        return None
    first = {"objective": tree["objectives"][0]} if tree.get("objectives") else {}
    return StudySpec(**{**tree, **first}, space=parameters)


def _spell_out_design(document: Document) -> None:
    """Write ``design: grid`` as ``design: {kind: grid}``."""
    kind = document.value.get("design")
    if isinstance(kind, str):
        document.value["design"] = {"kind": kind}


def _check_root(path: Path, document: Document) -> None:
    if document.value is None and not document.faults:
        raise _refusal(path, [Fault("is empty; the least a study file needs is a name and a space", 1, 1)])
    if document.value is not None and not isinstance(document.value, dict):
        place = document.places.value(())
        message = f"must be a mapping that begins like `name: ablation`, got {show(document.value)}"
        document.faults.append(Fault(message, place.line, place.column))
    if not isinstance(document.value, dict):
        raise _refusal(path, document.faults)


def _read_text(path: Path) -> str:
    try:
        if path.is_fifo() and not str(path).startswith(_OPEN_FILES):
            raise OSError(None, "it is a named pipe, which may never end")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise OSError(None, f"it has more than {_MOST_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start]
        column = exc.start - before.rfind(b"\n")
        message = f"must be UTF-8, got byte 0x{exc.object[exc.start]:02x}; save it as UTF-8"
        fault = Fault(message, before.count(b"\n") + 1, column)
    except FileNotFoundError:
        fault = Fault(f"does not exist; {_neighbours(path)}")
    except IsADirectoryError:
        fault = Fault(f"is a directory; {_neighbours(path / 'study.yaml')}")
    except (OSError, ValueError) as exc:
        fault = Fault(f"cannot be read: {getattr(exc, 'strerror', None) or exc}")
    raise _refusal(path, [fault])


def _neighbours(path: Path) -> str:
    """Describe which study files there are in the folder of the one that is missing."""
    names = sorted(file.name for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    if not names:
        return f"{path.parent} has no study file (*.yaml)"
    near = nearest_name(path.name, names)
    meant = f"did you mean {path.parent / near}? " if near else ""
    return f"{meant}{path.parent} has {first_of(names, _MOST_NAMED)}"

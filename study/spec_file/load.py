"""Turn a study file into a checked StudySpec, or into all of its faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import Fault, SpecError
from study.spec import StudySpec
from study.spec_file.aim_rules import check_aim_rules
from study.spec_file.conditions import link
from study.spec_file.document import Document, parse
from study.spec_file.forms import read_space
from study.spec_file.override import apply_overrides
from study.spec_file.report import Report
from study.spec_file.rules import Candidate, check_rules
from study.spec_file.steering_rules import check_steering_rules
from study.spec_file.training_rules import check_training_rules
from study.spec_file.walk import check_model
from study.spec_file.words import nearest, show


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
    text = _read_text(path)
    document = parse(text)
    _check_root(path, document)
    apply_overrides(document, overrides, name, trials)
    _spell_out_design(document)
    report = Report(document.places, document.faults)
    spec = _check(document, report)
    if spec is None:
        raise SpecError(str(path), report.faults)
    return LoadedSpec(spec, text, path)


def _check(document: Document, report: Report) -> StudySpec | None:
    tree = check_model(StudySpec, document.value, (), report, skip=("space",))
    drafts = read_space(document.value.get("space"), report)
    parameters = link(drafts, tree.get("trial", {}), report)
    candidate = Candidate(tree, document.value, {one.name: one for one in parameters}, report)
    for check in (check_rules, check_aim_rules, check_training_rules, check_steering_rules):
        check(candidate)
    if report.faults:
        return None
    first = {"objective": tree["objectives"][0]} if tree.get("objectives") else {}
    return StudySpec(**{**tree, **first}, space=parameters)


def _spell_out_design(document: Document) -> None:
    """Read ``design: grid`` as ``design: {kind: grid}``."""
    kind = document.value.get("design")
    if isinstance(kind, str):
        document.value["design"] = {"kind": kind}


def _check_root(path: Path, document: Document) -> None:
    if document.value is None and not document.faults:
        raise SpecError(str(path), [Fault("is empty; the least a study file needs is a name and a space", 1, 1)])
    if document.value is not None and not isinstance(document.value, dict):
        place = document.places.value(())
        message = f"must be a mapping that begins like `name: ablation`, got {show(document.value)}"
        document.faults.append(Fault(message, place.line, place.column))
    if not isinstance(document.value, dict):
        raise SpecError(str(path), document.faults)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start]
        column = exc.start - before.rfind(b"\n")
        message = f"must be UTF-8, got byte 0x{exc.object[exc.start]:02x}; save it as UTF-8"
        fault = Fault(message, before.count(b"\n") + 1, column)
    except FileNotFoundError:
        fault = Fault(f"does not exist; {_neighbours(path)}")
    except IsADirectoryError:
        fault = Fault(f"is a directory; {_neighbours(path / 'study.yaml')}")
    except OSError as exc:
        fault = Fault(f"cannot be read: {exc.strerror}")
    raise SpecError(str(path), [fault])


def _neighbours(path: Path) -> str:
    """Say which study files lie where this one was looked for."""
    names = sorted(one.name for one in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    if not names:
        return f"{path.parent} has no study file (*.yaml)"
    near = nearest(path.name, names)
    meant = f"did you mean {path.parent / near}? " if near else ""
    return f"{meant}{path.parent} has {', '.join(names)}"

"""The study file under check, and the rules of its name, data and resources; one small function per rule."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from study.config.hyperparameters import Scalar
from study.config.search_space import Parameter
from study.config.study_config import SOURCE_KEYS
from study.config_file.messages import DEFAULTS, unknown_key
from study.config_file.yaml_document import Report, Tree
from study.designs.space import is_continuous, values_of
from study.files import expand_home
from study.paths import encode_name
from study.utils.text import show

LONGEST_FOLDER = 200
_MOST_LISTED = 10_000
_LEAST_GPU = 1e-4
UNKNOWN = object()


@dataclass(frozen=True)
class Candidate:
    """A study file after the check of each value; ``tree`` holds the valid ones, ``given`` all as written."""

    tree: Tree
    given: Tree
    parameters: Mapping[str, Parameter]
    report: Report

    def value_of(self, section: str, field: str) -> Any:
        """Return a value or its default; UNKNOWN, which equals nothing, where it has a fault."""
        if self.report.is_faulty(section, field):
            return UNKNOWN
        return self.tree.get(section, {}).get(field, getattr(getattr(DEFAULTS, section), field))

    def is_given(self, *loc: str) -> bool:
        """Whether the file gives this key at all, right or wrong."""
        value: object = self.given
        for key in loc:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        return True

    def possible_values(self, name: str) -> tuple[Scalar, ...] | None:
        """Return every value a hyperparameter can have; None where a fault, or too many to list, hide them."""
        if self.report.is_faulty("space", name) or self.report.is_faulty("trial", name):
            return None
        parameter = self.parameters.get(name)
        if parameter is None:
            lost = self.is_given("space", name) and self.report.is_faulty("space")
            return None if lost else (self.value_of("trial", name),)
        domain = parameter.domain
        default = () if not parameter.when else (self.value_of("trial", name),)
        if is_continuous(domain) or len(values_of(domain)) > _MOST_LISTED:
            return None
        return (*values_of(domain), *default)


Rule: TypeAlias = Callable[[Candidate], None]
"""Reports what a study file breaks."""


def _name(study: Candidate) -> None:
    name, report = study.tree.get("name"), study.report
    if name is None:
        return
    if not name.isprintable():
        report.at_value(("name",), f"name must have only printable characters, got {show(name)}")
    elif name != name.strip():
        report.at_value(("name",), f"name must not begin or end with a blank, got {show(name)}")
    elif not name.strip("."):
        report.at_value(("name",), f"name must not be dots only, got {show(name)}")
    elif (length := len(encode_name(name))) > LONGEST_FOLDER:
        rule = f"name must take at most {LONGEST_FOLDER} characters as a folder, got {length}"
        report.at_value(("name",), f"{rule}; shorten it, letters other than a-z take several each")


def known_sets(study: Candidate) -> tuple[str, ...] | None:
    """Return every shifted image set of the study, None where a folder may hold more or a fault hides them."""
    if study.value_of("data", "source") != "faces" or study.report.is_faulty("data", "shifted"):
        return None
    return (*_face_words("SHIFTED_SETS"), *study.tree.get("data", {}).get("shifted", {}))


def _source(study: Candidate) -> None:
    source, report = study.value_of("data", "source"), study.report
    if source not in SOURCE_KEYS:
        return
    given, mine = study.tree.get("data", {}), SOURCE_KEYS[source]
    owner = {key: name for name, keys in SOURCE_KEYS.items() for key in keys.own if key not in mine.own}
    for key, other in owner.items():
        if given.get(key) is not None:
            rule = f"data.{key} belongs to source: {other}, but data.source is {source}"
            report.at_key(("data", key), f"{rule}; remove it or set source: {other}")
    for key, what in mine.required.items():
        if study.value_of("data", key) is None:
            report.at_value(("data", "source"), f"data.{key} is missing; source: {source} needs {what}")
    path = study.value_of("data", "path")
    if source == "folder" and path is not None and path is not UNKNOWN:
        _directory(study, path, "path")


def _directory(study: Candidate, path: str, *loc: str) -> None:
    folder = expand_home(path)
    try:
        if folder.is_dir():
            return
        state = "is not a directory" if folder.exists() else "does not exist"
    except OSError as exc:
        state = f"cannot be read: {exc.strerror}"
    way_out = "" if folder.is_absolute() else f"; it is looked up in {Path.cwd()}"
    rule = f"data.{'.'.join(loc)} must be a directory, but {show(path)} {state}{way_out}"
    study.report.at_value(("data", *loc), rule)


def _shifted(study: Candidate) -> None:
    given = {} if study.report.is_faulty("data", "shifted") else study.tree.get("data", {}).get("shifted", {})
    for name, path in given.items():
        if not re.fullmatch(r"[\w\- ]{1,80}", name):
            rule = (
                f"a name in data.shifted must be 1 to 80 letters, digits, -, _ or blanks, got {show(name)}; rename it"
            )
            study.report.at_key(("data", "shifted", name), rule)
        elif study.value_of("data", "source") == "faces" and name in _face_words("SHIFTED_SETS"):
            rule = f"data.shifted.{name} is a built-in set of source: faces already; choose another name"
            study.report.at_key(("data", "shifted", name), rule)
        _directory(study, path, "shifted", name)


def _classes(study: Candidate) -> None:
    given = {} if study.report.is_faulty("data", "classes") else study.tree.get("data", {}).get("classes", {})
    for folder, name in given.items():
        if not name or not name.isprintable() or name != name.strip():
            rule = (
                f"a class name must be printable and not empty, without blanks around it, got {show(name)}; rename it"
            )
            study.report.at_value(("data", "classes", folder), rule)
    if given and study.value_of("data", "source") == "faces":
        _face_classes(study, given)


def _face_classes(study: Candidate, given: Mapping[str, str]) -> None:
    kinds, names = _face_words("KINDS"), _face_words("CLASSES")
    for kind in given:
        if kind not in kinds:
            study.report.at_key(("data", "classes", kind), unknown_key(kind, "data.classes of source: faces", kinds))
    remaining = {given.get(kind, names[kind == "masked"]) for kind in kinds}
    if len(remaining) == 1:
        rule = f"data.classes must leave at least two classes, but every kind of face is {show(*remaining)}"
        study.report.at_value(("data", "classes"), f"{rule}; map fewer kinds to it")


def _face_words(name: str) -> tuple[str, ...]:
    from study.data.synthetic_faces import vocabulary  # here, or every command would load the renderer

    words: tuple[str, ...] = getattr(vocabulary, name)
    return words


def _group_by(study: Candidate) -> None:
    pattern = study.value_of("data", "group_by")
    if pattern is None or pattern is UNKNOWN:
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        rule = f"data.group_by must be a regular expression, but {show(pattern)} is not: {exc}"
        study.report.at_value(("data", "group_by"), f"{rule}; correct it")


def _fractions(study: Candidate) -> None:
    fractions = study.value_of("data", "fractions")
    if fractions is not UNKNOWN and not math.isclose(sum(fractions), 1, rel_tol=0, abs_tol=1e-9):
        rule = f"data.fractions must sum to 1, got {' + '.join(map(show, fractions))} = {sum(fractions):.10g}"
        study.report.at_value(("data", "fractions"), rule)


def _gpus(study: Candidate) -> None:
    gpus = study.value_of("resources", "gpus_per_trial")
    if isinstance(gpus, float) and 0 < gpus < _LEAST_GPU:
        rule = f"resources.gpus_per_trial must be 0 or at least {_LEAST_GPU}, got {show(gpus)}"
        study.report.at_value(("resources", "gpus_per_trial"), rule)
    if isinstance(gpus, int | float) and gpus > 1 and gpus != int(gpus):
        rule = f"resources.gpus_per_trial must be whole when it is > 1, got {show(gpus)}"
        study.report.at_value(("resources", "gpus_per_trial"), f"{rule}; write {int(gpus)} or {int(gpus) + 1}")


def _both(study: Candidate) -> None:
    for name in study.tree.get("trial", {}):
        if study.is_given("space", name):
            places = study.report.places
            at_trial = bool(places.key(("trial", name)).origin)
            loc = ("trial" if at_trial else "space", name)
            way = f"to fix a searched one, give its value in space ({name}: ...)"
            study.report.at_key(loc, f"{name} must not be in both trial and space; remove one of them; {way}")


DATA_RULES: tuple[Rule, ...] = (_name, _source, _fractions, _shifted, _classes, _group_by, _gpus, _both)

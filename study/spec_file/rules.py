"""Check what holds between the fields of a study file; one small function per law."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.hyperparameters import Scalar
from study.layout import encode_name
from study.records import METRICS
from study.spec import Choice, Constant, Integer, Parameter, StudySpec
from study.spec_file.conditions import requirements
from study.spec_file.document import Tree
from study.spec_file.report import Report
from study.spec_file.walk import section_of
from study.spec_file.words import did_you_mean, show

_LONGEST_FOLDER = 200
_UNKNOWN = object()


@dataclass(frozen=True)
class Candidate:
    """A study file whose single values are checked; ``tree`` holds the sound ones."""

    tree: Tree
    given: Tree
    parameters: Mapping[str, Parameter]
    report: Report

    def ask(self, section: str, field: str) -> Any:
        """Return a value or its default; _UNKNOWN, which equals nothing, where it has a fault."""
        if self.report.is_faulty(section, field):
            return _UNKNOWN
        model = section_of(StudySpec, section)
        assert model is not None
        default = model.model_fields[field].default
        return self.tree.get(section, {}).get(field, default)

    def has(self, *loc: str) -> bool:
        """Whether the file gives this key at all, right or wrong."""
        value: object = self.given
        for key in loc:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        return True

    def possible(self, name: str) -> tuple[Scalar, ...] | None:
        """Return every value a discrete hyperparameter can have; None where a fault or a range hides it."""
        if self.report.is_faulty("space", name) or self.report.is_faulty("trial", name):
            return None
        parameter = self.parameters.get(name)
        if parameter is None:
            return (self.ask("trial", name),)
        domain = parameter.domain
        default = () if not parameter.when else (self.ask("trial", name),)
        if isinstance(domain, Choice):
            return (*domain.values, *default)
        return (domain.value, *default) if isinstance(domain, Constant) else None


def check_rules(candidate: Candidate) -> None:
    """Report every law the candidate breaks."""
    for rule in _RULES:
        rule(candidate)


def _name(study: Candidate) -> None:
    name, report = study.tree.get("name"), study.report
    if name is None:
        return
    if not name.isprintable():
        report.value(("name",), f"name must have only printable characters, got {show(name)}")
    elif name != name.strip():
        report.value(("name",), f"name must not begin or end with a blank, got {show(name)}")
    elif not name.strip("."):
        report.value(("name",), f"name must not be dots only, got {show(name)}")
    elif (length := len(encode_name(name))) > _LONGEST_FOLDER:
        law = f"name must take at most {_LONGEST_FOLDER} characters as a folder, got {length}"
        report.value(("name",), f"{law}; shorten it, letters other than a-z take several each")


def _metric(study: Candidate) -> None:
    objective = study.tree.get("objective", {})
    name, mode = objective.get("metric"), objective.get("mode")
    if name is None:
        return
    usable = [one for one, metric in METRICS.items() if metric.mode]
    metric = METRICS.get(name)
    loc = ("objective", "metric")
    if metric is None:
        meant = did_you_mean(name, METRICS)
        study.report.value(loc, f"trials do not report a metric `{name}`{meant} Reported: {', '.join(METRICS)}")
    elif metric.mode is None:
        study.report.value(loc, f"{name} has no better direction, so it cannot be the objective; use one of {usable}")
    elif mode is not None and mode != metric.mode:
        better = "higher" if metric.mode == "max" else "lower"
        law = f"objective.mode must be {metric.mode} for {name}, which is better when {better}, got {mode}"
        study.report.value(("objective", "mode"), law)


def _source(study: Candidate) -> None:
    source, report = study.ask("data", "source"), study.report
    foreign = {"faces": ("path",), "folder": ("count",)}.get(source, ())
    for key in foreign:
        if study.tree.get("data", {}).get(key) is not None:
            other = "folder" if source == "faces" else "faces"
            law = f"data.{key} belongs to source: {other}, but data.source is {source}"
            report.key(("data", key), f"{law}; remove it or set source: {other}")
    if source == "folder":
        _folder(study)


def _folder(study: Candidate) -> None:
    path, report = study.ask("data", "path"), study.report
    if path is None:
        report.value(("data", "source"), "data.path is missing; source: folder needs the directory of the images")
    elif path is not _UNKNOWN and not Path(path).is_dir():
        found = "is not a directory" if Path(path).exists() else "does not exist"
        way_out = "write the home directory in full" if path.startswith("~") else f"it is looked up in {Path.cwd()}"
        way_out = "" if Path(path).is_absolute() else f"; {way_out}"
        report.value(("data", "path"), f"data.path must be a directory, but {show(path)} {found}{way_out}")


def _fractions(study: Candidate) -> None:
    fractions = study.ask("data", "fractions")
    if fractions is not _UNKNOWN and not math.isclose(sum(fractions), 1, rel_tol=0, abs_tol=1e-9):
        law = f"data.fractions must sum to 1, got {' + '.join(map(show, fractions))} = {sum(fractions):.10g}"
        study.report.value(("data", "fractions"), law)


def _gpus(study: Candidate) -> None:
    gpus = study.ask("resources", "gpus_per_trial")
    if isinstance(gpus, int | float) and gpus > 1 and gpus != int(gpus):
        law = f"resources.gpus_per_trial must be whole when it is > 1, got {show(gpus)}"
        study.report.value(("resources", "gpus_per_trial"), f"{law}; write {int(gpus)} or {int(gpus) + 1}")


def _epochs(study: Candidate) -> None:
    least, pruner = study.ask("search", "min_epochs"), study.ask("search", "pruner")
    most = _most_epochs(study)
    if least is _UNKNOWN or pruner in (_UNKNOWN, "none") or most is None or least <= most:
        return
    law = f"search.min_epochs must be <= max_epochs = {most} for pruner {pruner} to ever act, got {least}"
    study.report.value(("search", "min_epochs"), f"{law}; lower it or set pruner: none")


def _most_epochs(study: Candidate) -> int | None:
    parameter = study.parameters.get("max_epochs")
    if parameter is not None and isinstance(parameter.domain, Integer):
        return parameter.domain.high
    values = study.possible("max_epochs")
    return max(int(one) for one in values) if values else None


def _momentum(study: Candidate) -> None:
    """Momentum is SGD's alone: it must not be searched, or given in vain, for another optimizer."""
    optimizers = study.possible("optimizer")
    if optimizers is None:
        return
    if study.tree.get("trial", {}).get("momentum") is not None and "sgd" not in optimizers:
        law = f"trial.momentum belongs to sgd, but optimizer is always {optimizers[0]}"
        study.report.key(("trial", "momentum"), f"{law}; remove it or set optimizer: sgd")
    parameter = study.parameters.get("momentum")
    if parameter is None or study.report.is_faulty("space", "momentum"):
        return
    beside = requirements("momentum", study.parameters).get("optimizer", optimizers)
    others = [str(one) for one in beside if one != "sgd"]
    if "sgd" not in beside:
        law = f"space.momentum belongs to sgd, but optimizer is always {others[0]}"
        study.report.key(("space", "momentum"), f"{law}; remove it or set optimizer: sgd")
    elif others and not isinstance(parameter.domain, Constant):
        law = f"space.momentum belongs to sgd, but would be searched for {', '.join(others)} too"
        study.report.key(("space", "momentum"), f"{law}; add when: {{optimizer: sgd}}")


def _both(study: Candidate) -> None:
    for name in study.tree.get("trial", {}):
        if study.has("space", name):
            places = study.report.places
            at_trial = bool(places.key(("trial", name)).origin)
            loc = ("trial" if at_trial else "space", name)
            way = f"to fix a searched one, give its value in space ({name}: ...)"
            study.report.key(loc, f"{name} must not be in both trial and space; remove one of them; {way}")


def _nothing_searched(study: Candidate) -> None:
    trials = study.ask("search", "trials")
    searched = [one for one in study.parameters.values() if not isinstance(one.domain, Constant)]
    if searched or trials in (_UNKNOWN, 1) or study.report.is_faulty("space"):
        return
    loc = ("space",) if study.has("space") else ("search", "trials")
    law = f"space searches nothing, so all {trials} trials would be the same one"
    study.report.key(loc, f"{law}; search a hyperparameter or set search.trials: 1")


_RULES: tuple[Callable[[Candidate], None], ...] = (
    _name,
    _metric,
    _source,
    _fractions,
    _gpus,
    _epochs,
    _momentum,
    _both,
    _nothing_searched,
)

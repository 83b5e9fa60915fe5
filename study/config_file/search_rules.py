"""Check the design, replicates, search and budget of a study file; one small function per rule."""

from __future__ import annotations

from math import floor, log2
from typing import Any

from study.config.search_config import MOST_POINTS, MOST_TRIALS, DesignSpec
from study.config.search_space import Constant, Integer, Uniform
from study.config_file.data_rules import LONGEST_FOLDER, UNKNOWN, Candidate, Rule
from study.config_file.messages import repeated
from study.config_file.yaml_document import Loc
from study.designs.points import form_objections, points_in, space_objections
from study.designs.space import searched
from study.paths import encode_name
from study.utils.suggestions import did_you_mean
from study.utils.text import shorten, show

_WITHOUT_EPOCHS = ("none", "wilcoxon")
_LEAST_NUMBERS = 2


def _design(study: Candidate) -> None:
    if study.report.is_faulty("design"):
        return
    design, report = DesignSpec(**study.tree.get("design", {})), study.report
    for objection in form_objections(design):
        report.at_key(objection.loc, objection.message)
    if report.is_faulty("design") or report.is_faulty("space"):
        return
    space = tuple(study.parameters.values())
    if design.kind == "one_factor":
        _baseline_names(study, design)
    objections = tuple(space_objections(design, space))
    for objection in objections:
        at_value = len(objection.loc) > 1 and objection.loc[0] == "design" and objection.loc != ("design", "baseline")
        (report.at_value if at_value else report.at_key)(objection.loc, objection.message)
    points = None if objections else points_in(design, space)
    if points is not None:
        _few_enough(study, design.kind, points)


def _few_enough(study: Candidate, kind: str, points: int) -> None:
    """Report a design with more points, or more trials, than a study can have."""
    seeds, most, loc = _seeds(study), study.value_of("budget", "trials"), ("design", "kind")
    if points > MOST_POINTS:
        rule = f"design {kind} would run {points} points, and at most {MOST_POINTS} are"
        study.report.at_value(loc, f"{rule}; list fewer values, or use design search")
    elif most is None and seeds is not None and points * seeds > MOST_TRIALS:
        rule = f"design {kind} would run {points * seeds} trials ({points} points x {seeds} seeds)"
        study.report.at_value(loc, f"{rule}, and at most {MOST_TRIALS} are; list fewer values or seeds")


def _baseline_names(study: Candidate, design: DesignSpec) -> None:
    """Report names of the baseline that are not searched, unless an option fixed one or removed it with its parent."""
    names = [parameter.name for parameter in searched(study.parameters.values())]
    for name in design.baseline:
        loc = ("design", "baseline", name)
        if name in study.parameters and name not in names and not study.report.places.value(("space", name)).origin:
            study.report.at_key(loc, f"design.baseline.{name} is a constant of space; leave it out")
        elif not study.is_given("space", name):
            meant = did_you_mean(name, names, otherwise=".")
            rule = f"design.baseline.{name} is not searched{meant} Searched: {', '.join(names)}"
            study.report.at_key(loc, rule)


def _search_trials(study: Candidate) -> None:
    kind = study.value_of("design", "kind")
    if kind in (UNKNOWN, "search"):
        return
    if study.is_given("search", "trials"):
        rule = f"search.trials belongs to design search, but design.kind is {kind}, which lists its points"
        study.report.at_key(("search", "trials"), f"{rule}; remove it, or give budget.trials to end sooner")
    if study.tree.get("warm_start"):
        rule = f"warm_start belongs to design search, but design.kind is {kind}, which lists its points"
        study.report.at_key(("warm_start",), f"{rule}; remove it")


def _nothing_searched(study: Candidate) -> None:
    trials, seeds = study.value_of("search", "trials"), _seeds(study)
    searches = any(not isinstance(parameter.domain, Constant) for parameter in study.parameters.values())
    if searches or study.value_of("design", "kind") != "search" or study.report.is_faulty("space"):
        return
    if trials is UNKNOWN or seeds is None or trials <= seeds:
        return
    loc = ("space",) if study.is_given("space") else ("search", "trials")
    same = "the same one" if seeds == 1 else f"one point, which has {seeds} seeds"
    rule = f"space searches nothing, so all {trials} trials would be {same}"
    study.report.at_key(loc, f"{rule}; search a hyperparameter or set search.trials: {seeds}")


def _replicates(study: Candidate) -> None:
    given, report = study.tree.get("replicates", {}), study.report
    if given.get("seeds") is not None and given.get("count") is not None:
        rule = "replicates must have seeds or count, not both"
        report.at_key(("replicates", "count"), f"{rule}; remove one, count: 3 means seeds: [0, 1, 2]")
    seeds = given.get("seeds")
    if seeds == []:
        report.at_value(("replicates", "seeds"), "replicates.seeds must have at least one seed, got []; write [0]")
    for at, seed in repeated(seeds or ()).items():
        rule = f"replicates.seeds must not repeat a seed, got {seed} twice; remove one of them"
        report.at_value(("replicates", "seeds", at), rule)


def _seeds(study: Candidate) -> int | None:
    """Return how often each point is run, None where a fault hides it."""
    if study.report.is_faulty("replicates"):
        return None
    given = study.tree.get("replicates", {})
    return len(given.get("seeds") or ()) or given.get("count") or 1


def _pruner(study: Candidate) -> Any:
    """Return the pruner, where none is named the one that suits the design."""
    if study.report.is_faulty("objectives"):
        return UNKNOWN
    several = len(study.tree.get("objectives", ())) > 1
    default = {"search": "none" if several else "asha", UNKNOWN: UNKNOWN}.get(study.value_of("design", "kind"), "none")
    return study.value_of("search", "pruner") or default


def _epochs(study: Candidate) -> None:
    least, pruner, most = study.value_of("search", "min_epochs"), _pruner(study), _most_epochs(study)
    if least is None or least is UNKNOWN or pruner in (UNKNOWN, *_WITHOUT_EPOCHS) or most is None or least <= most:
        return
    rule = f"search.min_epochs must be <= max_epochs = {most} for pruner {pruner} to ever act, got {least}"
    study.report.at_value(("search", "min_epochs"), f"{rule}; lower it or set pruner: none")


def _patience(study: Candidate) -> None:
    """Report a patience too long to act: it takes one epoch to compare with, then ``patience`` epochs."""
    patience, most = study.value_of("search", "patience"), _most_epochs(study)
    if patience is UNKNOWN or _pruner(study) != "patient" or most is None or patience < most:
        return
    rule = f"search.patience must be < max_epochs = {most} for pruner patient to ever act, got {patience}"
    loc: Loc = ("search", "patience") if study.is_given("search", "patience") else ("search", "pruner")
    study.report.at_value(loc, f"{rule}; lower it, raise max_epochs or set pruner: none")


def _most_epochs(study: Candidate) -> int | None:
    parameter = study.parameters.get("max_epochs")
    if parameter is not None and isinstance(parameter.domain, Integer):
        return parameter.domain.high
    values = study.possible_values("max_epochs")
    return max(int(epochs) for epochs in values) if values else None


def _wilcoxon(study: Candidate) -> None:
    """Report too few replicates: with n pairs the one-sided signed-rank test (Wilcoxon 1945) gives p >= 2^-n."""
    level, seeds = study.value_of("search", "p_value"), _seeds(study)
    if _pruner(study) != "wilcoxon" or level is UNKNOWN or seeds is None:
        return
    least = floor(-log2(level)) + 2
    if seeds < least:
        rule = f"pruner wilcoxon needs at least {least} replicates to act before the last at p_value {show(level)}"
        why = "n pairs of trials give p >= 2^-n"
        way_out = f"set replicates: {{count: {least}}}, raise search.p_value or choose another pruner"
        study.report.at_value(("search", "pruner"), f"{rule}, as {why}, got {seeds}; {way_out}")


def _several_objectives(study: Candidate) -> None:
    if study.report.is_faulty("objectives") or len(study.tree.get("objectives", ())) < _LEAST_NUMBERS:
        return
    if (pruner := _pruner(study)) not in (UNKNOWN, "none"):
        rule = (
            f"search.pruner must be none for several objectives, as none of them alone says who is weak, got {pruner}"
        )
        study.report.at_value(("search", "pruner"), f"{rule}; remove it")
    if study.value_of("search", "sampler") == "cmaes":
        rule = "search.sampler cmaes knows one objective only"
        study.report.at_value(("search", "sampler"), f"{rule}; use nsga2, tpe or gp, or write objective for one")


def _cmaes(study: Candidate) -> None:
    """Report too few numbers for CMA-ES (Hansen 2016), which adapts their covariance."""
    if study.value_of("search", "sampler") != "cmaes" or study.value_of("design", "kind") != "search":
        return
    numbers = [
        parameter
        for parameter in study.parameters.values()
        if isinstance(parameter.domain, Integer | Uniform) and not parameter.when
    ]
    if len(numbers) >= _LEAST_NUMBERS or study.report.is_faulty("space"):
        return
    named = f" ({', '.join(parameter.name for parameter in numbers)})" if numbers else ""
    rule = f"search.sampler cmaes needs {_LEAST_NUMBERS} numeric parameters without a `when`, got {len(numbers)}{named}"
    study.report.at_value(("search", "sampler"), f"{rule}, and draws the others at random; use tpe or gp")


def _warm_start(study: Candidate) -> None:
    names, report = study.tree.get("warm_start", ()), study.report
    again = repeated(names)
    for at, name in enumerate(names):
        loc = ("warm_start", at)
        if not name.strip() or len(encode_name(name)) > LONGEST_FOLDER:
            report.at_value(loc, f"warm_start[{at}] must name an earlier study, got {show(name)}")
        elif name == study.tree.get("name"):
            report.at_value(loc, f"warm_start must name other studies, got this one, {shorten(name)}; remove it")
        elif at in again:
            report.at_value(loc, f"warm_start must not repeat a study, got {shorten(name)} twice; remove one of them")


SEARCH_RULES: tuple[Rule, ...] = (
    _design, _search_trials, _nothing_searched, _replicates,
    _epochs, _patience, _wilcoxon, _several_objectives, _cmaes, _warm_start,
)  # fmt: skip

"""Check the hyperparameters of a study file against each other; one small function per rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, pairwise

from study.config.hyperparameters import BELONGS, DEPTHS, Hyperparameters, Scalar
from study.config.search_space import Constant, Parameter
from study.config_file.conditions import requirements
from study.config_file.data_rules import Candidate, Rule, known_sets
from study.config_file.objective_rules import unfit
from study.config_file.yaml_document import Loc
from study.designs.space import values_of
from study.metric_catalog import SHIFTED_METRIC_PREFIX, VAL_PREFIX
from study.utils.text import show, show_bare

Values = frozenset[tuple[bool, Scalar]]
Way = Mapping[str, Values]
"""What parameters must be for something to happen; those not named may be anything."""


def drawn_together(
    left: str, right: str, parameters: Mapping[str, Parameter], fixed: Mapping[str, Scalar]
) -> list[tuple[Scalar, Scalar]]:
    """Return every pair of values a trial can have, in the order of the file.

    Args:
        left: a hyperparameter that is not continuous.
        right: another one.
        parameters: the space; the ancestors of both must be in it.
        fixed: the value of each where it is not searched, or does not exist because its conditions do not hold.
    """
    pairs = (
        (first, second)
        for first, left_way in _ways(left, parameters, fixed[left], right)
        for second, right_way in _ways(right, parameters, fixed[right], left)
        if all(left_way[name] & right_way[name] for name in left_way.keys() & right_way.keys())
    )
    return list(dict.fromkeys(pairs))


def _ways(name: str, parameters: Mapping[str, Parameter], fixed: Scalar, other: str) -> list[tuple[Scalar, Way]]:
    """Return each value of a hyperparameter with what must hold for it; every value of ``other`` is told apart.

    The hyperparameter is active if all parameters it depends on have the required values; it is inactive if any of
    them that is active itself has another value.
    """
    if name not in parameters:
        return [(fixed, {})]
    needed = _needed(name, parameters)
    ways: list[tuple[Scalar, Way]] = []
    for value in values_of(parameters[name].domain):
        ways.append((value, {**needed, name: _comparable([value])}))
    for parent, right in needed.items():
        if wrong := _told_apart(parent, parameters, every=parent == other) - right:
            ways.append((fixed, {**_needed(parent, parameters), parent: wrong}))
    return [(value, way) for value, way in ways if all(way.values())]


def _told_apart(name: str, parameters: Mapping[str, Parameter], *, every: bool) -> Values:
    """Return every value of a parameter, or those that some condition names and one that stands for all others."""
    named = {value for child in parameters for value in _needed(child, parameters).get(name, ())}
    values = values_of(parameters[name].domain)
    some = _comparable(values if every else islice(values, len(named) + 1))
    return frozenset((*some, *named))


def _needed(name: str, parameters: Mapping[str, Parameter]) -> dict[str, Values]:
    return {parent: _comparable(values) for parent, values in requirements(name, parameters).items()}


def _comparable(values: Iterable[Scalar]) -> Values:
    """Return values that are equal only if they are the same: true is not 1, though Python calls them equal."""
    return frozenset((isinstance(value, bool), value) for value in values)


_STOPPING = (VAL_PREFIX, "train_", SHIFTED_METRIC_PREFIX)


def _home(study: Candidate, name: str) -> Loc:
    return ("space" if name in study.parameters else "trial", name)


def _given(study: Candidate, name: str) -> bool:
    """Whether `trial` gives a hyperparameter another value than its default."""
    default = Hyperparameters.model_fields[name].default
    value = study.tree.get("trial", {}).get(name, default)
    return bool((tuple(value) if isinstance(value, list) else value) != default)


def _either(values: Iterable[object]) -> str:
    return " or ".join(map(show_bare, values))


def _belongings(study: Candidate) -> None:
    """Report what belongs to some values of an owner and is searched or given beside others, where it has no effect."""
    for name, (owner, values) in BELONGS.items():
        owners = study.possible_values(owner)
        if owners is None or study.report.is_faulty("space", name):
            continue
        _given_without_effect(study, name, owner, values, owners)
        _searched_without_effect(study, name, owner, values, owners)


def _given_without_effect(
    study: Candidate, name: str, owner: str, values: tuple[str, ...], owners: tuple[Scalar, ...]
) -> None:
    if _given(study, name) and not set(values) & set(owners):
        rule = f"trial.{name} belongs to {_either(values)}, but {owner} is always {_either(owners)}"
        study.report.at_key(("trial", name), f"{rule}; remove it or set {owner}: {values[0]}")


def _searched_without_effect(
    study: Candidate, name: str, owner: str, values: tuple[str, ...], owners: tuple[Scalar, ...]
) -> None:
    parameter = study.parameters.get(name)
    if parameter is None:
        return
    constant = parameter.domain if isinstance(parameter.domain, Constant) else None
    if constant and constant.value == Hyperparameters.model_fields[name].default:
        return
    beside = requirements(name, study.parameters).get(owner, owners)
    others = [value for value in beside if value not in values]
    if len(others) == len(beside):
        rule = f"space.{name} belongs to {_either(values)}, but {owner} is always {_either(others)}"
        study.report.at_key(("space", name), f"{rule}; remove it or set {owner}: {values[0]}")
    elif others and not constant:
        rule = f"space.{name} belongs to {_either(values)}, but would be searched for {', '.join(map(str, others))} too"
        when = values[0] if len(values) == 1 else f"[{', '.join(values)}]"
        study.report.at_key(("space", name), f"{rule}; add when: {{{owner}: {when}}}")


def _nesterov(study: Candidate) -> None:
    asked, momenta, optimizers = (study.possible_values(name) for name in ("nesterov", "momentum", "optimizer"))
    if not asked or True not in asked or not optimizers or "sgd" not in optimizers:
        return
    if momenta and all(momentum == 0 for momentum in momenta):
        loc = _home(study, "nesterov")
        rule = f"{loc[0]}.nesterov needs a momentum > 0, but momentum is always 0"
        study.report.at_key(loc, f"{rule}; remove it or set momentum: 0.9")


def _depths(study: Candidate) -> None:
    """Report depths that a family does not have."""
    if study.report.is_faulty("space"):  # it may hide a condition
        return
    if study.possible_values("family") is None or study.possible_values("depth") is None:
        return
    fixed = {name: study.value_of("trial", name) for name in ("family", "depth")}
    wrong: dict[str, list[str]] = {}
    for family, depth in drawn_together("family", "depth", study.parameters, fixed):
        if depth not in DEPTHS[str(family)]:
            wrong.setdefault(str(family), []).append(str(depth))
    for family, depths in wrong.items():
        loc, known = _home(study, "family"), ", ".join(map(str, DEPTHS[family]))
        rule = f"{loc[0]}.family {family} comes in depth {known} only, but would be run with depth {', '.join(depths)}"
        study.report.at_key(loc, f"{rule}; {_depth_way_out(study, family)}")


def _depth_way_out(study: Candidate, family: str) -> str:
    families, depths = study.possible_values("family") or (), study.possible_values("depth") or ()
    default = Hyperparameters.model_fields["family"].default
    shared = set(DEPTHS[family]).intersection(*(DEPTHS[str(other)] for other in families if other != default))
    right = [str(depth) for depth in depths if depth in shared]
    if len(set(depths)) == 1:
        return f"set depth: {min(shared)}" if shared else f"remove {family} or the other families"
    if "family" not in study.parameters or len(set(families)) == 1:
        return "remove these depths" if right else f"set depth: {min(shared)}"
    if right and not ("depth" in study.parameters and "family" in requirements("depth", study.parameters)):
        when = right[0] if len(right) == 1 else f"[{', '.join(right)}]"
        return f"add when: {{depth: {when}}} to space.family, which is {default} otherwise"
    return f"remove {family} or these depths"


def _stopping_metric(study: Candidate) -> None:
    names = study.possible_values("early_stopping_metric")
    loc = _home(study, "early_stopping_metric")
    title = f"{loc[0]}.early_stopping_metric"
    for name in dict.fromkeys(map(str, names or ())):
        reason = unfit(name, "what early stopping watches", known_sets(study))
        if reason is None and not name.startswith(_STOPPING):
            reason = f"must begin with {_either(_STOPPING)} to say how well a trial learns, got {name}"
            study.report.at_value(loc, f"{title} {reason}; use one such as val_loss")
        elif reason is not None:
            study.report.at_value(loc, f"{title}: {reason}")


def _stopping_patience(study: Candidate) -> None:
    """Report options of early stopping that are given without a patience."""
    if (
        study.is_given("space", "early_stopping_patience")
        or study.value_of("trial", "early_stopping_patience") is not None
    ):
        return
    for name in ("early_stopping_metric", "early_stopping_min_delta"):
        loc = _home(study, name)
        if loc[0] == "space" or _given(study, name):
            rule = f"{loc[0]}.{name} does nothing without trial.early_stopping_patience"
            study.report.at_key(loc, f"{rule}; remove it, or give the epochs to wait for a better value")


def _warmup(study: Candidate) -> None:
    warmups, lengths = study.possible_values("warmup_epochs"), study.possible_values("max_epochs")
    if not warmups or not lengths or len(warmups) > 1 or len(lengths) > 1:
        return
    warmup, length = warmups[0], lengths[0]
    if isinstance(warmup, int | float) and isinstance(length, int) and warmup >= length:
        loc = _home(study, "warmup_epochs")
        rule = f"{loc[0]}.warmup_epochs must be < max_epochs = {length}, got {show(warmup)}"
        way_out = "shorten the warm-up or raise max_epochs"
        study.report.at_value(loc, f"{rule}; {way_out}")


def _milestones(study: Candidate) -> None:
    schedules = study.possible_values("schedule") or ()
    if study.report.is_faulty("trial", "milestones") or study.is_given("space", "milestones"):
        return
    milestones = list(study.value_of("trial", "milestones"))
    if any(earlier >= later for earlier, later in pairwise(milestones)):
        rule = f"trial.milestones must ascend, got {show(milestones)}"
        study.report.at_value(("trial", "milestones"), f"{rule}; write {show(sorted(set(milestones)))}")
    if not milestones and "multistep" in schedules:
        loc = _home(study, "schedule")
        rule = f"{loc[0]}.schedule multistep needs trial.milestones, the epochs after which the rate drops"
        study.report.at_key(loc, f"{rule}; give some, such as milestones: [30, 60]")


TRAINING_RULES: tuple[Rule, ...] = (
    _depths, _belongings, _nesterov, _stopping_metric, _stopping_patience, _warmup, _milestones,
)  # fmt: skip

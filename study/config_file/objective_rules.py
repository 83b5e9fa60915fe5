"""Check the objectives and the target of a study file; one small function per law."""

from __future__ import annotations

from collections.abc import Collection

from study.config_file.data_rules import Candidate, Rule, known_sets
from study.config_file.messages import repeated
from study.config_file.yaml_document import Loc, Tree, dotted
from study.metric_catalog import (
    EVALUATED,
    METRICS,
    PER_CLASS,
    SHIFTED_METRIC_PREFIX,
    TEST_PREFIX,
    VAL_PREFIX,
    metric_named,
    shifted_metric,
    shifted_sets,
)
from study.utils.suggestions import did_you_mean
from study.utils.text import show

USABLE = tuple(name for name, metric in METRICS.items() if metric.mode)
FAMILIES = (
    f"and by class {', '.join(f'{VAL_PREFIX}{kind}.<class>' for kind in PER_CLASS)}; of further images "
    f"{SHIFTED_METRIC_PREFIX}<set>.<name>, such as {SHIFTED_METRIC_PREFIX}offcentre.auc "
    f"or {SHIFTED_METRIC_PREFIX}offcentre.recall.<class>"
)


def unfit(name: str, use: str, sets: Collection[str] | None) -> str | None:
    """Return why a metric cannot be used, with the way out; None where it can.

    Args:
        name: of the metric, as in a study file.
        use: what it would be, such as "the objective".
        sets: every shifted image set there is, None where only the data can tell.
    """
    if name.startswith(TEST_PREFIX):
        instead = VAL_PREFIX + name.removeprefix(TEST_PREFIX)
        instead = instead if metric_named(instead) else f"{VAL_PREFIX}auc"
        rule = f"{name} cannot be {use}: the test images are looked at once, at the end"
        return f"{rule}; choose by validation, such as {instead}"
    metric = metric_named(name)
    if metric is None:
        return _unknown(name, sets or ())
    if metric.mode is None:
        return f"{name} has no better direction, so it cannot be {use}; use one of {', '.join(USABLE)}"
    asked = shifted_sets(name)
    if asked and sets is not None and not set(asked) & set(sets):
        meant = did_you_mean(asked[0], sets, otherwise=".")
        return f"{name} is about a shifted set `{asked[0]}`, which is not there{meant} Sets: {', '.join(sets)}"
    return None


def _unknown(name: str, sets: Collection[str]) -> str:
    bare = [*EVALUATED, *(f"{kind}.<class>" for kind in PER_CLASS)]
    shifted = [shifted_metric(image_set, metric) for image_set in sets for metric in bare]
    meant = did_you_mean(name, shifted if name.startswith(SHIFTED_METRIC_PREFIX) else METRICS, otherwise=".")
    return f"trials do not report a metric `{name}`{meant} Reported: {', '.join(METRICS)}; {FAMILIES}"


_LEAST_OBJECTIVES = 2


def _objective(study: Candidate) -> None:
    _fit(study, study.tree.get("objective", {}), ("objective",), "the objective")


def _objectives(study: Candidate) -> None:
    if study.report.is_faulty("objectives") or "objectives" not in study.tree:
        return
    given: list[Tree] = study.tree["objectives"]
    if len(given) < _LEAST_OBJECTIVES:
        rule = f"objectives must have at least {_LEAST_OBJECTIVES}, got {len(given)}"
        study.report.at_value(("objectives",), f"{rule}; for one, write objective: {{metric: val_auc, mode: max}}")
    names = [objective["metric"] for objective in given]
    again = repeated(names)
    for at, objective in enumerate(given):
        if at in again:
            rule = f"objectives must differ, got {objective['metric']} twice"
            study.report.at_value(("objectives", at, "metric"), f"{rule}; remove one of them")
        else:
            _fit(study, objective, ("objectives", at), "an objective")
    for at, name in enumerate(names[1:], start=1):
        if not _measured_each_epoch(study, name):
            study.report.at_value(("objectives", at, "metric"), _measured_late("an objective", name))


def _both(study: Candidate) -> None:
    if study.is_given("objective") and study.is_given("objectives"):
        rule = "objective must not be beside objectives, whose first selects a trial's epoch"
        study.report.at_key(("objective",), f"{rule}; remove one of them")


def _fit(study: Candidate, objective: Tree, loc: Loc, use: str) -> None:
    name, mode = objective.get("metric"), objective.get("mode")
    if name is None:
        return
    metric = metric_named(name)
    if reason := unfit(name, use, known_sets(study)):
        study.report.at_value((*loc, "metric"), reason)
    elif metric is not None and mode is not None and mode != metric.mode:
        better = "higher" if metric.mode == "max" else "lower"
        rule = f"{dotted(loc)}.mode must be {metric.mode} for {name}, which is better when {better}, got {mode}"
        study.report.at_value((*loc, "mode"), rule)


def _target(study: Candidate) -> None:
    given = {} if study.report.is_faulty("budget", "target") else study.tree.get("budget", {}).get("target", {})
    for name, value in given.items():
        loc, metric = ("budget", "target", name), metric_named(name)
        if reason := unfit(name, "a target", known_sets(study)):
            study.report.at_key(loc, reason)
        elif not _measured_each_epoch(study, name):
            study.report.at_key(loc, _measured_late("a target", name))
        elif metric is not None and metric.unit == "1" and metric.mode == "max" and value > 1:
            rule = f"budget.target.{name} must be <= 1, its best value, got {show(value)}"
            study.report.at_value(loc, f"{rule}; write a fraction, such as {min(value / 100, 1):.6g}")


def _measured_each_epoch(study: Candidate, name: str) -> bool:
    """Whether a metric is known after every epoch; those of shifted sets are where one steers the trial."""
    if not name.startswith(SHIFTED_METRIC_PREFIX):
        return True
    several = study.tree.get("objectives")
    first = several[0] if several else study.tree.get("objective", {})
    stopping = study.possible_values("early_stopping_metric") if _stops_early(study) else ()
    return any(str(metric).startswith(SHIFTED_METRIC_PREFIX) for metric in (first.get("metric", ""), *(stopping or ())))


def _stops_early(study: Candidate) -> bool:
    patiences = study.possible_values("early_stopping_patience")
    return patiences is None or any(patience is not None for patience in patiences)


def _measured_late(use: str, name: str) -> str:
    rule = f"{name} cannot be {use}: shifted sets are scored once, at a trial's end, unless one steers the trial"
    return f"{rule}; make a shifted metric the objective, the first of several, or what early stopping watches"


OBJECTIVE_RULES: tuple[Rule, ...] = (_objective, _objectives, _both, _target)

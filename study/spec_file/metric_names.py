"""Say why a metric cannot decide what is best."""

from __future__ import annotations

from collections.abc import Collection

from study.records import (
    EVALUATED,
    METRICS,
    PER_CLASS,
    SHIFTED_PREFIX,
    TEST_PREFIX,
    VAL_PREFIX,
    metric_named,
    shifted_sets,
)
from study.spec_file.words import did_you_mean

USABLE = tuple(name for name, metric in METRICS.items() if metric.mode)
FAMILIES = (
    f"and by class {', '.join(f'{VAL_PREFIX}{kind}.<class>' for kind in PER_CLASS)}; of further images "
    f"{SHIFTED_PREFIX}<set>.<name>, such as {SHIFTED_PREFIX}offcentre.auc or {SHIFTED_PREFIX}offcentre.recall.<class>"
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
        law = f"{name} cannot be {use}: the test images are looked at once, at the end"
        return f"{law}; choose by validation, such as {instead}"
    metric = metric_named(name)
    if metric is None:
        return _unknown(name, sets or ())
    if metric.mode is None:
        return f"{name} has no better direction, so it cannot be {use}; use one of {', '.join(USABLE)}"
    asked = shifted_sets(name)
    if asked and sets is not None and not set(asked) & set(sets):
        meant = did_you_mean(asked[0], sets)
        stop = "" if meant else "."
        return f"{name} is about a shifted set `{asked[0]}`, which is not there{meant}{stop} Sets: {', '.join(sets)}"
    return None


def _unknown(name: str, sets: Collection[str]) -> str:
    bare = [*EVALUATED, *(f"{kind}.<class>" for kind in PER_CLASS)]
    shifted = [f"{SHIFTED_PREFIX}{one}.{metric}" for one in sets for metric in bare]
    meant = did_you_mean(name, shifted if name.startswith(SHIFTED_PREFIX) else METRICS)
    stop = "" if meant else "."
    return f"trials do not report a metric `{name}`{meant}{stop} Reported: {', '.join(METRICS)}; {FAMILIES}"

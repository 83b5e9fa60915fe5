"""Compare a trial with what it was when it ran first, to the last bit; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.records import EpochMetrics, TrialRecord, metric_named

Pair = tuple[int | None, float | None, float | None]
"""An epoch with a metric's value then and now."""
MEASURES_OF_MACHINE = ("s", "1/s", "byte", "ms")
"""Units of metrics that tell of time or memory, and so never come out the same."""
WORDS: Mapping[str, str] = {
    "cpu": "CPU", "instructions": "CPU instructions", "machine": "architecture", "cores": "number of cores",
    "gpu": "GPU", "libc": "C library", "python": "Python", "ray-study": "this package", "commit": "code's commit",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A metric that did not come out the same.

    ``epoch`` is the first one that differs, None where only the selected checkpoint has the metric; ``then`` and
    ``now`` are its values there, None where there is none; ``largest`` is the largest difference of all epochs.
    """

    metric: str
    epoch: int | None
    then: float | None
    now: float | None
    largest: float


def compared_metrics(history: tuple[EpochMetrics, ...]) -> list[str]:
    """Return the metrics of a trial's epochs that the same trial must have again, in the order reported."""
    return list(dict.fromkeys(name for one in history for name in one.values if not of_machine(name)))


def of_machine(name: str) -> bool:
    """Whether a metric measures time or memory."""
    metric = metric_named(name)
    return metric is not None and metric.unit in MEASURES_OF_MACHINE


def find_differences(
    record: TrialRecord, history: tuple[EpochMetrics, ...], evaluation: Mapping[str, float]
) -> list[Difference]:
    """Compare every metric of every epoch, then those of the selected checkpoint on images it was not selected on.

    Args:
        record: the trial as the study remembers it.
        history: every epoch as it came out now.
        evaluation: the selected checkpoint's metrics, as they came out now.
    """
    now = {one.epoch: one.values for one in history}
    found = []
    for name in compared_metrics(record.history):
        pairs = [(one.epoch, one.values.get(name), now.get(one.epoch, {}).get(name)) for one in record.history]
        found += list(_difference(name, pairs))
    in_epochs = {name for one in record.history for name in one.values}
    for name in sorted(set(record.metrics) - in_epochs):
        found += list(_difference(name, [(None, record.metrics[name], evaluation.get(name))]))
    return found


def _difference(name: str, pairs: Sequence[Pair]) -> Iterator[Difference]:
    differing = [(epoch, then, now) for epoch, then, now in pairs if then != now]
    if differing:
        sizes = [abs(then - now) for _, then, now in differing if then is not None and now is not None]
        yield Difference(name, *differing[0], largest=max(sizes, default=float("nan")))


def other_conditions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say what differs between where a study ran and here; nothing where a study did not say where it ran."""
    if not then:
        return []
    found = []
    for name in dict.fromkeys((*then, *now)):
        before, after = then.get(name, "none"), now.get(name, "none")
        if before != after:
            found.append(f"{WORDS.get(name, name)}: {before} then, {after} now")
    if then.get("commit") == now.get("commit") and str(now.get("commit")).endswith("with changes"):
        found.append("the code has changes that are in no commit, then and now: they may not be the same")
    return found

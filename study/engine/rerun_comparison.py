"""Compare a trial that was run again with its first run: metrics to the last bit, and the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.metric_catalog import is_machine_metric
from study.records import EpochMetrics, TrialRecord

Pair = tuple[int | None, float | None, float | None]
"""An epoch with a metric's value then and now."""
LABELS: Mapping[str, str] = {
    "cpu": "CPU", "instructions": "CPU instructions", "machine": "architecture", "cores": "number of cores",
    "gpu": "GPU", "libc": "C library", "python": "Python", "ray-study": "this package", "commit": "code's commit",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A metric that is not the same.

    ``epoch`` is the first one that differs, None if only the selected checkpoint has the metric; ``then`` and
    ``now`` are the values there, None if there is none; ``largest`` is the largest difference over all epochs.
    """

    metric: str
    epoch: int | None
    then: float | None
    now: float | None
    largest: float


def compared_metrics(history: tuple[EpochMetrics, ...]) -> list[str]:
    """Return the metrics of a trial's epochs that must be reproduced, in the order reported."""
    return list(dict.fromkeys(name for epoch in history for name in epoch.values if not is_machine_metric(name)))


def find_differences(
    record: TrialRecord, history: tuple[EpochMetrics, ...], evaluation: Mapping[str, float]
) -> list[Difference]:
    """Compare every metric of every epoch, then those of the selected checkpoint on images it was not selected on.

    Args:
        record: the trial as stored by the study.
        history: every epoch of the new run.
        evaluation: the selected checkpoint's metrics in the new run.
    """
    now = {epoch.epoch: epoch.values for epoch in history}
    differences: list[Difference] = []
    for name in compared_metrics(record.history):
        pairs = [(then.epoch, then.values.get(name), now.get(then.epoch, {}).get(name)) for then in record.history]
        differences += list(_difference(name, pairs))
    in_epochs = {name for epoch in record.history for name in epoch.values}
    for name in sorted(set(record.metrics) - in_epochs):
        differences += list(_difference(name, [(None, record.metrics[name], evaluation.get(name))]))
    return differences


def _difference(name: str, pairs: Sequence[Pair]) -> Iterator[Difference]:
    differing = [(epoch, then, now) for epoch, then, now in pairs if then != now]
    if differing:
        sizes = [abs(then - now) for _, then, now in differing if then is not None and now is not None]
        yield Difference(name, *differing[0], largest=max(sizes, default=float("nan")))


def changed_environment(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return how the present environment differs from that of the study; empty if the study stored none."""
    if not then:
        return []
    changes = []
    for name in dict.fromkeys((*then, *now)):
        before, after = then.get(name, "none"), now.get(name, "none")
        if before != after:
            changes.append(f"{LABELS.get(name, name)}: {before} then, {after} now")
    if then.get("commit") == now.get("commit") and str(now.get("commit")).endswith("with changes"):
        changes.append("the code has changes that are in no commit, then and now: they may not be the same")
    return changes

"""Schedule trials of known length on slots, and find the budget limit that ends the study first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.config.search_config import ResourceSpec
from study.utils.cpus import available_cores

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Machine:
    """How many trials run at once here, and on what; ``slots`` is 0 if there is no room for one.

    ``gpus_per_trial`` is 0 on the CPU; ``packs``: a study may put more trials on a GPU than counted here, because it
    measures what they need.
    """

    cores: int
    gpus: int
    cpus_per_trial: int
    gpus_per_trial: float
    slots: int
    packs: bool = False

    @property
    def kind(self) -> str:
        """The kind of device that trials compute on."""
        return "cuda" if self.gpus_per_trial else "cpu"

    @property
    def device(self) -> torch.device:
        """The device that trials compute on."""
        import torch

        return torch.device(self.kind)

    @property
    def together(self) -> int:
        """How many trials share a device: on the CPU all that run at once, on GPUs those of one GPU."""
        if not self.gpus_per_trial:
            return self.slots
        return max(1, min(self.slots, int(1 / self.gpus_per_trial)))


def inspect_machine(resources: ResourceSpec, trials: int) -> Machine:
    """Return what this machine offers to a study of so many trials."""
    import torch

    cores, gpus = available_cores(), torch.cuda.device_count()
    asked = resources.gpus_per_trial
    each = (1.0 if gpus else 0.0) if asked == "auto" else float(asked)
    by_cpu = cores // resources.cpus_per_trial
    room = min(by_cpu, int(gpus / each) if each >= 1 else gpus * int(1 / each)) if each else by_cpu
    slots = min(room, trials, resources.max_concurrent_trials or room)
    return Machine(cores, gpus, resources.cpus_per_trial, each, slots, packs=asked == "auto" and gpus > 0)


SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Limit:
    """A limit of the budget that ends the study before its trials do.

    ``at_s`` is when it is reached, ``ended`` how many trials have ended by then.
    """

    name: str
    value: str
    at_s: float
    ended: int


@dataclass(frozen=True)
class Schedule:
    """When trials start and end, in seconds from the start of the first and ordered by start."""

    spans: tuple[tuple[float, float], ...]

    @property
    def wall_s(self) -> float:
        """When the last trial ends."""
        return max((end for _, end in self.spans), default=0.0)

    @property
    def busy_s(self) -> float:
        """The time of all trials together."""
        return sum(end - start for start, end in self.spans)

    def ended_by(self, at_s: float) -> int:
        """Count the trials that have ended at a time."""
        return sum(end <= at_s for _, end in self.spans)

    def busy_by(self, at_s: float) -> float:
        """Return the time of all trials together until then."""
        return sum(max(0.0, min(end, at_s) - start) for start, end in self.spans)


def make_schedule(lengths_s: Sequence[float], slots: int, begin_s: float = 0.0) -> Schedule:
    """Assign each trial in turn to the slot that is free first, as Tune does."""
    free = [begin_s] * min(slots, max(1, len(lengths_s)))
    spans = []
    for length in lengths_s:
        start = heapq.heappop(free)
        spans.append((start, start + length))
        heapq.heappush(free, start + length)
    return Schedule(tuple(spans))


def first_limit(
    table: Schedule, *, wall_clock_s: float | None, accelerator_hours: float | None, gpus_per_trial: float
) -> Limit | None:
    """Return the limit that is reached first, None if the trials end before any."""
    limits = []
    if wall_clock_s is not None and wall_clock_s < table.wall_s:
        limits.append(Limit("wall_clock", f"{wall_clock_s:g} s", wall_clock_s, table.ended_by(wall_clock_s)))
    if accelerator_hours is not None and gpus_per_trial:
        most_s = accelerator_hours * SECONDS_PER_HOUR / gpus_per_trial
        if most_s < table.busy_s:
            at_s = _when(table, most_s)
            limits.append(Limit("accelerator_hours", f"{accelerator_hours:g}", at_s, table.ended_by(at_s)))
    return min(limits, key=lambda limit: limit.at_s, default=None)


def _when(table: Schedule, busy_s: float) -> float:
    """Return when the trials have used so much time together, by bisection to a thousandth of the whole."""
    low, high = 0.0, table.wall_s
    while high - low > table.wall_s / 1000:
        middle = (low + high) / 2
        low, high = (middle, high) if table.busy_by(middle) < busy_s else (low, middle)
    return high

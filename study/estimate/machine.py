"""Look at this machine as a study would use it, without starting Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.data.reader import available_cores
from study.spec import ResourceSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Machine:
    """How many trials run at once here, and on what; 0 ``slots`` where not one has room.

    ``gpus_per_trial`` is 0 on the CPU; ``packs`` says that a study may put more trials on a GPU than counted here,
    because it measures what they need.
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
        """How many trials share what a device has: on the CPU all that run, on GPUs those of one."""
        if not self.gpus_per_trial:
            return self.slots
        return max(1, min(self.slots, int(1 / self.gpus_per_trial)))


def look_at(resources: ResourceSpec, trials: int) -> Machine:
    """Return what this machine is for a study of so many trials."""
    import torch

    cores, gpus = available_cores(), torch.cuda.device_count()
    asked = resources.gpus_per_trial
    each = (1.0 if gpus else 0.0) if asked == "auto" else float(asked)
    by_cpu = cores // resources.cpus_per_trial
    room = min(by_cpu, int(gpus / each) if each >= 1 else gpus * int(1 / each)) if each else by_cpu
    slots = min(room, trials, resources.max_concurrent_trials or room)
    return Machine(cores, gpus, resources.cpus_per_trial, each, slots, packs=asked == "auto" and gpus > 0)

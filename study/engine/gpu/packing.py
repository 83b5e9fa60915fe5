"""Say how much of a GPU each trial gets: as many trials on one as their measured memory admits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray import tune

from study.config.search_config import ResourceSpec
from study.config.study_config import StudySpec
from study.data.dataset import DataBundle
from study.engine.gpu.memory_key import MemoryKey, memory_key, range_ceilings
from study.engine.ray.cluster import RESOLUTION, Slots, count_concurrent, gpu_nodes
from study.errors import EngineError

GIB = 2**30


@dataclass(frozen=True)
class GpuModel:
    """A GPU as it was found; ``usable_bytes`` is all of its memory but what others hold."""

    name: str
    torch_version: str
    usable_bytes: int


@dataclass(frozen=True)
class MemoryNeed:
    """What one trial takes of a GPU's memory, without its images.

    ``reserved_bytes`` is the peak of what torch's allocator took, of which tensors filled ``allocated_bytes``;
    ``context_bytes`` is what CUDA, its kernels and its libraries take beside that.
    """

    reserved_bytes: int
    allocated_bytes: int
    context_bytes: int


@dataclass(frozen=True)
class ProbeResult:
    """What was found out on one kind of GPU.

    ``stand_ins`` names for every key the one that was measured for it, itself as a rule. ``card`` is None where torch
    can use no GPU; ``too_large`` is a key that even a whole GPU has no room for; ``fault`` says why nothing is known.
    """

    card: GpuModel | None = None
    needs: Mapping[MemoryKey, MemoryNeed] = field(default_factory=dict)
    stand_ins: Mapping[MemoryKey, MemoryKey] = field(default_factory=dict)
    too_large: MemoryKey | None = None
    fault: str | None = None


def too_large_error(key: MemoryKey, card: GpuModel, beside: str = "") -> EngineError:
    """Return the error of a kind of trial that even a whole GPU has no room for."""
    return EngineError(
        f"a trial must fit on one GPU, but {key}{beside} needs more than the {card.usable_bytes / GIB:.1f} GiB that "
        f"are free on {card.name}; lower batch_size or data.image_size_px"
    )


MARGIN = 1.1
MOST_PER_GPU = 8
"""Processes take turns on a GPU: the first few fill each other's pauses, more only wait, and each pays for a context
of about half a gigabyte on the GPU and some of the node's own memory."""


@dataclass(frozen=True)
class Packing:
    """What each trial gets; ``slots`` has the share of the trial that takes least, and how many run at once.

    ``shares`` has what each measured kind of trial gets of a GPU; a kind that nobody foresaw gets a whole one. Without
    shares all trials get the same. A trial that ran out of memory beside others is run once more on a whole GPU.
    """

    slots: Slots
    image_size_px: int = 0
    shares: Mapping[MemoryKey, float] = field(default_factory=dict)
    tops: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def resources_for(self, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """Return what Tune is to reserve for a configuration as the searcher hands it out."""
        gpus = self.gpus_for(config["trial"])
        if config.get("alone") and gpus:
            gpus = max(1.0, gpus)
        return tune.PlacementGroupFactory([{"CPU": self.slots.cpus, "GPU": gpus}])

    def gpus_for(self, trial: Mapping[str, Any]) -> float:
        """Return the GPUs of a trial with these hyperparameters beside others."""
        if not self.shares:
            return self.slots.gpus
        own = memory_key(trial, self.image_size_px)
        tops = {name: top for name, top in self.tops.items() if getattr(own, name, None)}
        return self.shares.get(own) or self.shares.get(own._replace(**tops)) or 1.0

    def is_shared(self, trial: Mapping[str, Any]) -> bool:
        """Whether a trial with these hyperparameters has others on its GPU, whose memory it could want."""
        return 0 < self.gpus_for(trial) < 1


def pack_trials(spec: StudySpec, slots: Slots, found: Sequence[ProbeResult], data: DataBundle, trials: int) -> Packing:
    """Divide the GPUs by what trials were measured to take, with a margin of 10 %.

    Never more than ``MOST_PER_GPU`` share one, nor more than there are CPUs for, nor so many that GPUs stay empty.
    Of several kinds of GPU the one with room for the fewest counts.

    Args:
        spec: the study.
        slots: what ``plan_slots`` found, with a whole GPU for each trial.
        found: what ``probed`` returned; nothing where nothing was to be measured.
        data: its images lie on the GPU once for every trial.
        trials: how many trials there are.

    Raises:
        EngineError: one trial alone needs more memory than a GPU has.
    """
    if not found:
        return Packing(slots, notices=_idle(slots))
    if fault := next((one.fault for one in found if one.fault), None):
        said = f"each trial gets a whole GPU, because what it takes of one could not be measured: {fault}"
        return Packing(slots, notices=(said,))
    if any(one.card is None for one in found):
        return Packing(slots, notices=("the cluster has GPUs, but torch can use none of them: trials train on CPUs",))
    images, most = _image_bytes(data), _most_per_gpu(spec.resources, trials)
    fits: dict[MemoryKey, int] = {}
    for one in found:
        for key in one.stand_ins:
            fits[key] = min(_fits(one, key, images), fits.get(key, most))
    shares = {key: share_of(count) for key, count in fits.items()}
    least = min(shares.values())
    packed = Slots(slots.cpus, least, count_concurrent(spec.resources, least, trials))
    return Packing(packed, spec.data.image_size_px, shares, range_ceilings(spec), (_words(found, fits, images),))


def share_of(count: int) -> float:
    """Return the share with which exactly so many trials fit on one GPU; Ray knows four decimals."""
    return math.floor(RESOLUTION / count) / RESOLUTION


def _fits(found: ProbeResult, key: MemoryKey, image_bytes: int) -> int:
    """Say how many trials of a kind one GPU has room for."""
    assert found.card is not None
    need = found.needs[found.stand_ins[key]]
    if need.allocated_bytes + need.context_bytes + image_bytes > found.card.usable_bytes:
        raise too_large_error(key, found.card, f" and {image_bytes / GIB:.1f} GiB of images")
    return max(1, int(found.card.usable_bytes / (MARGIN * _bytes(need, image_bytes))))


def _bytes(need: MemoryNeed, image_bytes: int) -> int:
    return need.reserved_bytes + need.context_bytes + image_bytes


def _image_bytes(data: DataBundle) -> int:
    """Return the size of the images a trial holds."""
    return sum(one.images.nbytes + one.labels.nbytes for one in (data.train, data.val, *data.shifted.values()))


def _most_per_gpu(resources: ResourceSpec, trials: int) -> int:
    """Say how many trials may share a GPU, whatever their memory."""
    nodes = gpu_nodes()
    cpus = max(int(node.get("CPU", 0) / resources.cpus_per_trial / node["GPU"]) for node in nodes)
    wanted = min(trials, resources.max_concurrent_trials or trials)
    even = math.ceil(wanted / sum(int(node["GPU"]) for node in nodes))  # Ray fills one GPU before it begins the next
    return max(1, min(MOST_PER_GPU, cpus, even))


def _words(found: Sequence[ProbeResult], fits: Mapping[MemoryKey, int], image_bytes: int) -> str:
    """Say what the heaviest trial takes, and how many share a GPU."""
    taken, card = max(
        ((_bytes(need, image_bytes), one.card.name) for one in found if one.card for need in one.needs.values()),
    )
    fewest, most = min(fits.values()), max(fits.values())
    share = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"a trial takes up to {taken / GIB:.1f} GiB of {card}: {share} at once on a GPU"


def _idle(slots: Slots) -> tuple[str, ...]:
    """Say that a trial trains on one GPU, where more are reserved for it."""
    if slots.gpus <= 1:
        return ()
    return (f"resources.gpus_per_trial reserves {slots.gpus:g} GPUs, but a trial trains on one: the others stay idle",)

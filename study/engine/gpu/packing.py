"""Compute the share of a GPU that each trial gets: as many trials share one as their measured memory allows."""

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
    """A GPU model; ``usable_bytes`` is its memory except what others use."""

    name: str
    torch_version: str
    usable_bytes: int


@dataclass(frozen=True)
class MemoryNeed:
    """GPU memory of one trial without its images.

    ``reserved_bytes`` is the peak of torch's allocator, ``allocated_bytes`` the part of it filled by tensors,
    ``context_bytes`` what CUDA, its kernels and its libraries take in addition.
    """

    reserved_bytes: int
    allocated_bytes: int
    context_bytes: int


@dataclass(frozen=True)
class ProbeResult:
    """The measurements on one GPU model.

    ``stand_ins`` names for every key the one that was measured for it, itself as a rule. ``card`` is None where torch
    can use no GPU; ``too_large`` is a key that even a whole GPU has no room for; ``fault`` says why nothing is known.
    """

    card: GpuModel | None = None
    needs: Mapping[MemoryKey, MemoryNeed] = field(default_factory=dict)
    stand_ins: Mapping[MemoryKey, MemoryKey] = field(default_factory=dict)
    too_large: MemoryKey | None = None
    fault: str | None = None


def too_large_error(key: MemoryKey, card: GpuModel, beside: str = "") -> EngineError:
    """Return the error for a trial that does not fit on a whole GPU."""
    return EngineError(
        f"a trial must fit on one GPU, but {key}{beside} needs more than the {card.usable_bytes / GIB:.1f} GiB that "
        f"are free on {card.name}; lower batch_size or data.image_size_px"
    )


MARGIN = 1.1
MOST_PER_GPU = 8
"""A few processes on a GPU use each other's pauses, more only wait; each takes about half a gigabyte for its context,
and memory of the node."""


@dataclass(frozen=True)
class Packing:
    """What each trial gets; ``slots`` has the smallest share of a GPU, and how many trials run at once.

    ``shares`` has the share of each measured kind of trial; an unforeseen kind gets a whole GPU. Without shares all
    trials get the same. A trial that ran out of memory beside others runs once more on a whole GPU.
    """

    slots: Slots
    image_size_px: int = 0
    shares: Mapping[MemoryKey, float] = field(default_factory=dict)
    tops: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def resources_for(self, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """Return what Tune reserves for a configuration of StorageSearcher."""
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


def pack_trials(
    spec: StudySpec, slots: Slots, results: Sequence[ProbeResult], data: DataBundle, trials: int
) -> Packing:
    """Divide the GPUs by the measured memory of trials, with a margin of 10 %.

    At most ``MOST_PER_GPU`` trials share one, as many as there are CPUs for, and so few that no GPU stays empty.
    Of several GPU models the one with room for the fewest counts.

    Args:
        spec: the study.
        slots: as returned by ``plan_slots``, with a whole GPU for each trial.
        results: as returned by ``wait_for_probe``; empty if nothing was measured.
        data: its images are on the GPU once per trial.
        trials: number of trials.

    Raises:
        EngineError: one trial alone needs more memory than a GPU has.
    """
    if not results:
        return Packing(slots, notices=_idle(slots))
    if fault := next((result.fault for result in results if result.fault), None):
        notice = f"each trial gets a whole GPU, because what it takes of one could not be measured: {fault}"
        return Packing(slots, notices=(notice,))
    if any(result.card is None for result in results):
        return Packing(slots, notices=("the cluster has GPUs, but torch can use none of them: trials train on CPUs",))
    images, most = _image_bytes(data), _most_per_gpu(spec.resources, trials)
    fits: dict[MemoryKey, int] = {}
    for result in results:
        for key in result.stand_ins:
            fits[key] = min(count_fitting(result, key, images), fits.get(key, most))
    shares = {key: share_of(count) for key, count in fits.items()}
    least = min(shares.values())
    packed = Slots(slots.cpus, least, count_concurrent(spec.resources, least, trials))
    return Packing(packed, spec.data.image_size_px, shares, range_ceilings(spec), (_notice(results, fits, images),))


def share_of(count: int) -> float:
    """Return the share of a GPU with which ``count`` trials fit on it; Ray counts four decimals."""
    return math.floor(RESOLUTION / count) / RESOLUTION


def count_fitting(result: ProbeResult, key: MemoryKey, image_bytes: int) -> int:
    """Return how many trials of a kind fit on one GPU, each with its images.

    Raises:
        EngineError: not even one does.
    """
    assert result.card is not None
    need = result.needs[result.stand_ins[key]]
    if need.allocated_bytes + need.context_bytes + image_bytes > result.card.usable_bytes:
        raise too_large_error(key, result.card, f" and {image_bytes / GIB:.1f} GiB of images")
    return max(1, int(result.card.usable_bytes / (MARGIN * _bytes(need, image_bytes))))


def _bytes(need: MemoryNeed, image_bytes: int) -> int:
    return need.reserved_bytes + need.context_bytes + image_bytes


def _image_bytes(data: DataBundle) -> int:
    """Return the bytes of the images of one trial."""
    return sum(images.images.nbytes + images.labels.nbytes for images in (data.train, data.val, *data.shifted.values()))


def _most_per_gpu(resources: ResourceSpec, trials: int) -> int:
    """Return how many trials may share a GPU whatever their memory."""
    nodes = gpu_nodes()
    cpus = max(int(node.get("CPU", 0) / resources.cpus_per_trial / node["GPU"]) for node in nodes)
    wanted = min(trials, resources.max_concurrent_trials or trials)
    even = math.ceil(wanted / sum(int(node["GPU"]) for node in nodes))  # Ray fills one GPU before the next
    return max(1, min(MOST_PER_GPU, cpus, even))


def _notice(results: Sequence[ProbeResult], fits: Mapping[MemoryKey, int], image_bytes: int) -> str:
    """Describe what the heaviest trial takes, and how many share a GPU."""
    taken, card = max(
        (
            (_bytes(need, image_bytes), result.card.name)
            for result in results
            if result.card
            for need in result.needs.values()
        ),
    )
    fewest, most = min(fits.values()), max(fits.values())
    share = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"a trial takes up to {taken / GIB:.1f} GiB of {card}: {share} at once on a GPU"


def _idle(slots: Slots) -> tuple[str, ...]:
    """Return a notice if more than one GPU is reserved for a trial, which trains on one."""
    if slots.gpus <= 1:
        return ()
    return (f"resources.gpus_per_trial reserves {slots.gpus:g} GPUs, but a trial trains on one: the others stay idle",)

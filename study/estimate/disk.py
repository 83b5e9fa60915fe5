"""Say how much disk and memory a study needs at most; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.estimate.models import Footprint
from study.estimate.pictures import Pictures
from study.spec import KeepSpec


@dataclass(frozen=True)
class Storage:
    """The most bytes at any time, by what they are for; ``memory_bytes`` is shared by the trials of a node."""

    running_bytes: int
    kept_bytes: int
    weights_bytes: int
    images_bytes: int
    images_cached: bool
    memory_bytes: int

    @property
    def disk_bytes(self) -> int:
        """All that is written, the decoded images too where they are not there already."""
        new = 0 if self.images_cached else self.images_bytes
        return self.running_bytes + self.kept_bytes + self.weights_bytes + new


def storage(
    footprints: Sequence[Footprint],
    slots: int,
    keep: KeepSpec,
    pictures: Pictures,
    *,
    weights: Mapping[tuple[str, str, int], int],
) -> Storage:
    """Add up the most that a study's files take.

    Args:
        footprints: of every trial, in any order; the largest count, because they may come together.
        slots: trials that run at once.
        keep: how many trials' weights stay.
        pictures: the study's images.
        weights: bytes of those that trials begin with, by init, family and depth.
    """
    running = sorted((one.running_bytes for one in footprints), reverse=True)[:slots]
    kept = len(footprints) if keep.per_study == "all" else min(keep.per_study, len(footprints))
    largest = sorted((one.best_bytes for one in footprints), reverse=True)[:kept]
    stored = sum(size for (init, _, _), size in weights.items() if init != "imagenet")
    return Storage(
        running_bytes=sum(running),
        kept_bytes=sum(largest),
        weights_bytes=stored,
        images_bytes=max(pictures.decoded_bytes, pictures.cached_bytes),
        images_cached=pictures.cached_bytes > 0,
        memory_bytes=pictures.shared_bytes + sum(weights.values()),
    )

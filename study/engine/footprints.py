"""Hold what is known of the memory that trials take on a GPU; plain values that survive pickling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from study.engine.probe_key import ProbeKey
from study.errors import EngineError

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """A GPU as it was found; ``usable_bytes`` is all of its memory but what others hold."""

    name: str
    torch_version: str
    usable_bytes: int


@dataclass(frozen=True)
class Need:
    """What one trial takes of a GPU's memory, without its images.

    ``reserved_bytes`` is the peak of what torch's allocator took, of which tensors filled ``allocated_bytes``;
    ``context_bytes`` is what CUDA, its kernels and its libraries take beside that.
    """

    reserved_bytes: int
    allocated_bytes: int
    context_bytes: int


@dataclass(frozen=True)
class Footprints:
    """What was found out on one kind of GPU.

    ``stand_ins`` names for every key the one that was measured for it, itself as a rule. ``card`` is None where torch
    can use no GPU; ``too_large`` is a key that even a whole GPU has no room for; ``fault`` says why nothing is known.
    """

    card: Card | None = None
    needs: Mapping[ProbeKey, Need] = field(default_factory=dict)
    stand_ins: Mapping[ProbeKey, ProbeKey] = field(default_factory=dict)
    too_large: ProbeKey | None = None
    fault: str | None = None


def too_large(key: ProbeKey, card: Card, beside: str = "") -> EngineError:
    """Return the error of a kind of trial that even a whole GPU has no room for."""
    return EngineError(
        f"a trial must fit on one GPU, but {key}{beside} needs more than the {card.usable_bytes / GIB:.1f} GiB that "
        f"are free on {card.name}; lower batch_size or data.image_size_px"
    )

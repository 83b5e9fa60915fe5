"""What the caller of a run passes to it; imports nothing heavy, so that a command can answer at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.data.dataset import DataBundle
    from study.events import Recorder


@dataclass(frozen=True)
class RunCallbacks:
    """Called while a run prepares and stops.

    ``on_message`` shows a line, ``on_images`` how many images of a set are ready (name, ready, total),
    ``on_interrupt`` that the run stops on request.
    """

    on_message: Callable[[str], None]
    on_images: Callable[[str, int, int], None]
    on_interrupt: Callable[[], None]


@dataclass(frozen=True)
class RunContext:
    """What the caller of a run passes to it.

    ``recorder`` makes the recorder once the study's data is there; ``runs`` returns the checkpoints of MLflow runs
    as paths or URIs, for ``init: run:RUN_ID``; ``address`` is that of a running Ray cluster, None starts one on this
    machine; ``storage`` is where checkpoints go, None means the study's folder.
    """

    recorder: Callable[[DataBundle], Recorder]
    callbacks: RunCallbacks
    runs: Callable[[], Mapping[str, str]] = dict
    address: str | None = None
    storage: str | None = None

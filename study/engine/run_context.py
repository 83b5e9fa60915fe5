"""What a run is handed by whoever starts it; imports nothing heavy, so that a command can speak at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.data.dataset import DataBundle
    from study.events import Recorder


@dataclass(frozen=True)
class RunProgress:
    """How the run talks while it prepares: ``say`` a line, ``count`` images of the data that is being made."""

    say: Callable[[str], None]
    count: Callable[[str, int, int], None]
    interrupting: Callable[[], None]


@dataclass(frozen=True)
class RunContext:
    """What a run is handed by whoever starts it.

    ``recorder`` makes the listener, once the study's data is there; ``runs`` finds the path or URI of the checkpoint
    of an MLflow run, for ``init: run:RUN_ID``; ``address`` is that of a running Ray cluster, None starts one on this
    machine; ``storage`` is where checkpoints go, None leaves them in the study's folder.
    """

    recorder: Callable[[DataBundle], Recorder]
    progress: RunProgress
    runs: Callable[[], Mapping[str, str]] = dict
    address: str | None = None
    storage: str | None = None

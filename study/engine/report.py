"""What a worker tells the driver about its trial; plain values that survive pickling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from study.records import EpochMetrics, StopReason


@dataclass(frozen=True)
class Failure:
    """An exception of the training function: its one-line form and its traceback.

    ``disk`` says that files could not be written, for which the trial is not to blame; ``memory`` that a GPU had too
    little, for which its neighbours may be.
    """

    summary: str
    traceback: str
    disk: bool = False
    memory: bool = False


@dataclass(frozen=True)
class TrialReport:
    """One message of a worker.

    ``epochs`` are those not sent before by this worker, oldest first: after a restart also those of earlier
    workers, because the driver may have missed the last one. ``checkpoint`` is the path or URI of the selected
    checkpoint's folder, ``busy_s`` the time since this worker took the trial.
    ``ended`` says why the trial ends here, if it does; then ``evaluation`` has the selected checkpoint's metrics on
    images it was not selected on.
    """

    epochs: tuple[EpochMetrics, ...] = ()
    checkpoint: str | None = None
    ended: StopReason | None = None
    evaluation: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    busy_s: float = 0.0

"""What a worker tells the driver about its trial; plain values that survive pickling."""

from __future__ import annotations

from dataclasses import dataclass

from study.records import EpochMetrics


@dataclass(frozen=True)
class Failure:
    """An exception of the training function: its one-line form and its traceback.

    ``disk`` says that files could not be written, for which the trial is not to blame.
    """

    summary: str
    traceback: str
    disk: bool = False


@dataclass(frozen=True)
class TrialReport:
    """One message of a worker.

    ``epochs`` are those not sent before by this worker, oldest first: after a restart also those of earlier
    workers, because the driver may have missed the last one. ``checkpoint`` is the selected checkpoint's folder.
    """

    epochs: tuple[EpochMetrics, ...] = ()
    checkpoint: str | None = None
    finished: bool = False
    failure: Failure | None = None

"""Put an exception of the training function into words that can always be sent."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from study.errors import StorageError
from study.events import EpochReported
from study.metrics import is_better
from study.records import EpochMetrics, StopReason
from study.storage.study_storage import StudyStorage

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""torch's allocator raises OutOfMemoryError; a CUDA context and the libraries' workspaces fail with a RuntimeError."""
BROKEN = ("CUDA error:", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a GPU's memory did not suffice; needs no torch, whose class it knows by name."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY)


def is_gpu_lost(error: BaseException) -> bool:
    """Whether every later call of this process would fail as well: after an illegal access, a failed assertion, ECC."""
    says = isinstance(error, RuntimeError) and any(said in str(error) for said in BROKEN)
    return says and not is_out_of_memory(error)


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


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def describe_failure(error: BaseException) -> Failure:
    """Describe an exception; works for those that cannot be pickled or printed."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    text = "".join(traceback.format_exception(error))
    return Failure(
        lines[0] if lines else type(error).__name__,
        text,
        disk=any(map(_is_disk, _chain(error))),
        memory=any(map(is_out_of_memory, _chain(error))),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk(error: BaseException) -> bool:
    """Whether the disk refused to write; libraries that write for us keep only the system's words for it."""
    if isinstance(error, StorageError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    said = "".join(traceback.format_exception_only(error))
    return any(os.strerror(code) in said for code in DISK_ERRORS)


def decode_reports(storage: StudyStorage, trial: int) -> list[EpochReported]:
    """Return what was reported of a trial, the oldest epoch first, each with the best epoch until then."""
    metric, mode = storage.spec.objective.metric, storage.spec.objective.mode
    found: list[EpochReported] = []
    for stored in storage.epochs(trial):
        epoch, value = stored.metrics.epoch, stored.metrics.values[metric]
        if found and not is_better(value, found[-1].best_value, mode):
            epoch, value = found[-1].best_epoch, found[-1].best_value
        found.append(EpochReported(storage.name, trial, stored.metrics, value, epoch, stored.at_s))
    return found


def decode_report(storage: StudyStorage, trial: int, epoch: int) -> EpochReported:
    """Return what ``decode_reports`` has of one epoch, without reading the others."""
    stored, curve = storage.epoch(trial, epoch), storage.curve(trial)
    first, *later = sorted(one for one in curve if one <= epoch)
    best = first
    for one in later:
        if is_better(curve[one], curve[best], storage.spec.objective.mode):
            best = one
    return EpochReported(storage.name, trial, stored.metrics, curve[best], best, stored.at_s)

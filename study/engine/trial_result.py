"""What a worker sends to the driver: the epochs of a trial, how it ended, or its failure."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from study.errors import StorageError
from study.records import EpochMetrics, StopReason

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""torch's allocator raises OutOfMemoryError; a CUDA context and the libraries' workspaces fail with a RuntimeError."""
GPU_LOST = ("CUDA error:", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that a GPU had too little memory; does not import torch."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def is_gpu_lost(error: BaseException) -> bool:
    """Return whether every later GPU call of this process would fail too: after an illegal access or an ECC error."""
    lost = isinstance(error, RuntimeError) and any(text in str(error) for text in GPU_LOST)
    return lost and not is_out_of_memory(error)


@dataclass(frozen=True)
class Failure:
    """An exception of the training function as text: one line and the traceback.

    ``disk``: files could not be written, which is no fault of the trial. ``memory``: a GPU had too little memory,
    which may be due to other trials on it.
    """

    summary: str
    traceback: str
    disk: bool = False
    memory: bool = False


@dataclass(frozen=True)
class TrialResult:
    """What a worker reports after one step.

    ``epochs`` are those that this worker has not sent yet, oldest first: after a restart also those of earlier
    workers, because the driver may have missed the last one. ``checkpoint`` is the path or URI of the selected
    checkpoint's folder, ``busy_s`` the time since this worker took the trial.
    ``ended`` is why the trial ends here, if it does; then ``evaluation`` has the selected checkpoint's metrics on
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
    """Describe an exception as text; works for exceptions that cannot be pickled or printed."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    text = "".join(traceback.format_exception(error))
    return Failure(
        lines[0] if lines else type(error).__name__,
        text,
        disk=any(map(_is_disk_error, _chain(error))),
        memory=any(map(is_out_of_memory, _chain(error))),
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_error(error: BaseException) -> bool:
    """Return whether the disk refused a write; libraries may keep only the message of the system error."""
    if isinstance(error, StorageError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_ERRORS
    text = "".join(traceback.format_exception_only(error))
    return any(os.strerror(code) in text for code in DISK_ERRORS)

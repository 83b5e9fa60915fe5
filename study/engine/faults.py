"""Put an exception of the training function into words that can always be sent."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator

from study.engine.gpu_errors import is_out_of_memory
from study.engine.report import Failure
from study.errors import StorageError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def describe(error: BaseException) -> Failure:
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

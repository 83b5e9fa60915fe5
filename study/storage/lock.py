"""The lock of a study's one driver, which also repairs the journal that a killed driver left."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from study.errors import StudyStorageError
from study.files import OutsideError, open_inside, refuse_links
from study.paths import StudyLayout
from study.storage.journal_format import whole_length

logger = logging.getLogger(__name__)


@contextmanager
def driver_lock(layout: StudyLayout) -> Iterator[None]:
    """Hold the lock of the study's one driver; a torn last line of the journal, left by a kill, is cut first.

    Raises:
        StudyStorageError: another process drives the study, or its folder cannot be written.
    """
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        refuse_links(layout.root, layout.results)
        file = layout.lock.open("a+")
    except OSError as error:
        raise StudyStorageError(f"{layout.root} must be writable, but: {error.strerror or error}") from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            raise StudyStorageError(
                f"one process at a time may run a study, but process {file.read().strip() or '?'} already runs "
                f"`{layout.root.name}`; wait for it or stop it with Ctrl-C"
            )
        _sign(file)
        try:
            _cut_torn_line(layout.journal)
        except OSError as error:
            raise StudyStorageError(f"{layout.journal} must be writable, but: {error.strerror or error}") from error
        yield


def is_driven(layout: StudyLayout) -> bool:
    """Whether some process drives the study now."""
    try:
        with open_inside(layout.lock, layout.results) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, OutsideError):
        return False
    except OSError:
        return True
    return False


def _try_lock(file: IO[str], tries: int = 5) -> bool:
    """Lock without waiting long: ``is_driven`` holds the lock for an instant."""
    for attempt in range(tries):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if attempt < tries - 1:
                time.sleep(0.1)
        else:
            return True
    return False


def _sign(file: IO[str]) -> None:
    """Write this process's id into the file, for the message that others get."""
    try:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise StudyStorageError(f"{file.name} must be writable, but: {error.strerror or error}") from error


def _cut_torn_line(journal: Path) -> None:
    """Cut what a kill or a power cut left of a batch; nobody relied on it yet."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        whole = whole_length(content)
        if whole < len(content):
            logger.warning("cut a torn line of %d bytes off %s", len(content) - whole, journal)
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())

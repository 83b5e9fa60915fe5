"""Keep the journal file whole: one writer at a time, no torn line, no lock left behind by a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from study.errors import LedgerError
from study.layout import StudyLayout, sync_folder

logger = logging.getLogger(__name__)


class FlockJournalLock(BaseJournalFileLock):
    """A lock the kernel frees when its holder dies; Optuna's own leaves a file behind and waits 30 s for it."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f"{journal.name}.lock")
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._file = self._path.open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Free the lock."""
        assert self._file is not None
        self._file.close()
        self._file = None


class WholeLines(JournalFileBackend):
    """Optuna's journal file, but a write that fails leaves nothing behind.

    Optuna's own would leave a part of a line, and the next line after it would make the journal unreadable.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._flock = FlockJournalLock(journal)
        super().__init__(str(journal), lock_obj=self._flock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all lines or none.

        Raises:
            LedgerError: the disk refuses them.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            self._flock.acquire()
            try:
                self._append(lines)
            finally:
                self._flock.release()
        except OSError as error:
            raise LedgerError(
                f"a study must be able to write {self._journal}, but: {error.strerror or error}; "
                "what it had stored is safe: mend this and go on with `study resume`"
            ) from error

    def _append(self, lines: bytes) -> None:
        with self._journal.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def open_storage(journal: Path) -> JournalStorage:
    """Open the journal as an Optuna storage."""
    return JournalStorage(WholeLines(journal))


def publish(staging: Path, journal: Path) -> None:
    """Give a finished journal its name, durably."""
    staging.replace(journal)
    sync_folder(journal.parent)


@contextmanager
def driver_lock(layout: StudyLayout) -> Iterator[None]:
    """Be the study's one driver; a torn last line of the journal, left by a kill, is cut first.

    Raises:
        LedgerError: another process drives the study, or its folder cannot be written.
    """
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        file = layout.lock.open("a+")
    except OSError as error:
        raise LedgerError(f"{layout.root} must be writable, but: {error.strerror or error}") from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            raise LedgerError(
                f"one process at a time may run a study, but process {file.read().strip() or '?'} already runs "
                f"`{layout.root.name}`; wait for it or stop it with Ctrl-C"
            )
        _sign(file)
        _cut_torn_line(layout.ledger)
        yield


def is_driven(layout: StudyLayout) -> bool:
    """Whether some process drives the study now."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _try_lock(file: IO[str], tries: int = 5) -> bool:
    """Lock without waiting long: whoever only asks ``is_driven`` holds it for an instant."""
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
    """Leave this process's id for the message that others get."""
    try:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise LedgerError(f"{file.name} must be writable, but: {error.strerror or error}") from error


def _cut_torn_line(journal: Path) -> None:
    """Cut what a kill or a power cut left of a line; nobody was told that it was stored."""
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole == len(content):
            last = content.rfind(b"\n", 0, max(whole - 1, 0)) + 1
            whole = whole if _is_json(content[last:whole]) else last
        if whole < len(content):
            logger.warning("cut a torn line of %d bytes off %s", len(content) - whole, journal)
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def refuse_existing(layout: StudyLayout, name: str) -> None:
    """Make sure that a study's name is new.

    Raises:
        LedgerError: it is not.
    """
    if layout.ledger.exists():
        raise LedgerError(
            f"a study's name must be new, but `{name}` exists; `study resume {shlex.quote(name)}` goes on with it, "
            "`study run FILE --name OTHER` starts another"
        )

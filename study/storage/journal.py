"""Keep the journal file whole: no torn line, all of a batch or nothing, no lock left behind by a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from study.errors import StudyStorageError
from study.paths import sync_folder
from study.trials.serialization import FOLLOWED


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


class JournalFile(JournalFileBackend):
    """Optuna's journal file, but a write that fails leaves nothing behind.

    Optuna's own would leave a part of a line, and the next line after it would make the journal unreadable.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._flock = FlockJournalLock(journal)
        self._torn = False
        super().__init__(str(journal), lock_obj=self._flock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append all lines or none.

        Raises:
            StudyStorageError: the disk refuses them.
        """
        self.append_lines([json.dumps(log, separators=(",", ":")) for log in logs])

    def append_lines(self, lines: Sequence[str]) -> None:
        """Append all of these JSON objects or none, in one write.

        Raises:
            StudyStorageError: the disk refuses them.
        """
        try:
            if self._torn:
                raise OSError(errno.EIO, "an earlier write failed half-way")
            self._flock.acquire()
            try:
                self._append("".join(f"{line}\n" for line in lines).encode())
            finally:
                self._flock.release()
        except OSError as error:
            raise StudyStorageError(
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
                self._torn = True  # unless it can be cut off again, the next driver must do that first
                file.truncate(size)
                self._torn = False
                raise


class BatchedJournalStorage(JournalStorage):
    """Optuna's journal storage for one writer: several changes are one write, and none is read back from the file.

    Optuna's own opens and reads the file at every look. Memory changes after the file did, so a batch that cannot be
    written leaves both as they were. What other processes append meanwhile is not seen: readers open the journal anew.
    """

    def __init__(self, journal: Path) -> None:
        self._held: list[str] | None = None
        self._loaded = False
        self._lines = JournalFile(journal)
        super().__init__(self._lines)
        self._loaded = True
        self._replay_result._last_created_trial_id_by_this_process = -1

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold every change back and write all of them at the end; an exception forgets them.

        A trial that is created in a batch cannot be looked at before its end.
        """
        assert self._held is None, "a batch in a batch"
        self._held = []
        try:
            yield
            lines, self._held = self._held, None
            if lines:
                self._commit([*(_followed(line) for line in lines[:-1]), lines[-1]])
        finally:
            self._held = None

    def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
        worker = self._replay_result.worker_id
        line = json.dumps({"op_code": op_code, "worker_id": worker, **extra_fields}, separators=(",", ":"))
        if self._held is None:
            self._commit([line])
        else:
            self._held.append(line)

    def _commit(self, lines: Sequence[str]) -> None:
        self._lines.append_lines(lines)
        self._replay_result.apply_logs(json.loads(line) for line in lines)  # just as a reader gets it

    def _sync_with_backend(self) -> None:
        if not self._loaded:
            super()._sync_with_backend()


def _followed(line: str) -> str:
    """Mark a line as one that counts only together with the next."""
    return json.dumps({**json.loads(line), FOLLOWED: True}, separators=(",", ":"))


def replace_journal(staging: Path, journal: Path) -> None:
    """Give a finished journal its name, durably."""
    staging.replace(journal)
    sync_folder(journal.parent)

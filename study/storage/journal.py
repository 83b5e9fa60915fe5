"""A backend of Optuna's journal storage that leaves no torn line and writes a batch whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection

from study.errors import StudyStorageError
from study.files import sync_folder
from study.paths import StudyLayout
from study.storage.journal_format import format_batch, parse_line, split_lines


class JournalBackend(BaseJournalBackend):
    """A journal file with one writer: durable, all or nothing, and read once.

    What other processes append meanwhile is not seen: readers open the journal anew.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._is_held = False
        self._held: list[dict[str, Any]] = []
        self._latest: list[dict[str, Any]] = []  # what the last write appended
        self._count = 0  # logs in the file, the latest included
        self._torn = False

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        """Return the logs from a number on; those held back in a batch are not among them yet.

        Raises:
            ValueError: the file is damaged.
        """
        earlier = self._count - len(self._latest)
        if log_number_from < earlier or not self._count:
            logs = self._read()
            self._count, self._latest = len(logs), []
            return logs[log_number_from:]
        return self._latest[log_number_from - earlier :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs, after those that were held back before: all or none.

        Raises:
            StudyStorageError: the disk refuses them.
        """
        self._held += logs
        if not self._is_held:
            self._flush()

    @contextmanager
    def batch(self, *, with_next: bool = False) -> Iterator[None]:
        """Hold every change back and write all of them at the end; an exception discards them.

        Args:
            with_next: write them not at the end, but together with the next change after it.
        """
        assert not self._is_held, "batches cannot be nested"
        self._is_held = True
        try:
            yield
        except BaseException:
            self._held = []
            raise
        finally:
            self._is_held = False
        if not with_next:
            self._flush()

    def _flush(self) -> None:
        logs, self._held = self._held, []
        if not logs:
            return
        lines = format_batch(logs)
        try:
            if self._torn:
                raise OSError(errno.EIO, "an earlier write failed half-way")
            self._append(lines)
        except OSError as error:
            raise StudyStorageError(
                f"a study must be able to write {self._journal}, but: {error.strerror or error}; "
                "what it had stored is safe: mend this and go on with "
                f"`{StudyLayout(self._journal.parent).command('resume')}`"
            ) from error
        self._latest = [parse_line(line) for line in lines.splitlines()]  # just as a reader gets them
        self._count += len(self._latest)

    def _append(self, lines: bytes) -> None:
        with self._journal.open("ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
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

    def _read(self) -> list[dict[str, Any]]:
        try:
            content = self._journal.read_bytes()
        except FileNotFoundError:
            return []
        return [parse_line(line) for line in split_lines(content)]


class BatchedJournalStorage(JournalStorage):
    """Optuna's journal storage on such a file.

    Memory changes after the file did, so a batch that cannot be written leaves both as they were.
    """

    def __init__(self, journal: Path) -> None:
        backend = JournalBackend(journal)
        self.batch = backend.batch
        super().__init__(backend)


def write_new_journal(
    journal: Path, name: str, directions: Sequence[StudyDirection], attributes: Mapping[str, object]
) -> None:
    """Write the journal of a study that has no trial yet, whole or not at all."""
    staging = journal.with_name(f".{journal.name}.part")
    staging.unlink(missing_ok=True)
    storage = BatchedJournalStorage(staging)
    study_id = storage.create_new_study(directions, name)
    with storage.batch():
        for key, value in attributes.items():
            storage.set_study_user_attr(study_id, key, value)
    staging.replace(journal)
    sync_folder(journal.parent)

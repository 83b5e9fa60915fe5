"""The folder in which a worker trains one trial, locked and mirrored to a remote store if there is one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from study.engine.files.trial_files import is_obsolete_after_end
from study.paths import CARD, LAST_CHECKPOINT, is_uri
from study.utils.remote_files import RemoteStore, join_location, open_remote_store

FOLDER_WAIT_S = 60.0
SCRATCH = "ray-study"


class FolderInUseError(Exception):
    """Another process still works in the trial's folder."""


class WorkingDirectory:
    """A trial's folder on this machine, locked by this process until it is closed."""

    def __init__(self, location: str) -> None:
        """Lock the folder at a path; for a URI a scratch folder with a copy of all files there.

        Raises:
            FolderInUseError: another process keeps it locked.
            OSError, StorageError: the folder or the remote store cannot be used.
        """
        self._location = location
        self._mirror = RemoteMirror(location) if is_uri(location) else None
        self.folder = self._mirror.scratch if self._mirror else Path(location)
        self._handle: int | None = lock_folder(self._mirror.lock if self._mirror else self.folder)
        try:
            if self._mirror:
                self._mirror.fetch()
        except BaseException:
            self.close()
            raise

    def upload_changes(self) -> None:
        """Copy the changes to the remote store, if there is one.

        Raises:
            StorageError: it cannot be written.
        """
        if self._mirror:
            self._mirror.upload_changes()

    def location_of(self, folder: Path) -> str:
        """Return the path or URI under which others find a folder of this trial."""
        return join_location(self._location, folder.name) if self._mirror else str(folder)

    def close(self) -> None:
        """Unlock the folder; delete it if it is only a copy."""
        if self._handle is None:
            return
        if self._mirror:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._handle)  # which releases the lock
        self._handle = None


class RemoteMirror:
    """Keeps a remote store equal to a scratch folder.

    The file from which a trial is resumed is written first: once it is there the epoch is safe, because everything
    else can be derived from it. A selected checkpoint is valid while its card is there: the card is written last and
    deleted first.
    """

    def __init__(self, uri: str) -> None:
        self._store: RemoteStore = open_remote_store(uri)
        self._there: dict[str, tuple[int, int]] = {}
        _delete_scratch_of_dead_processes()
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.scratch = _scratch_root() / f"{os.getpid()}-{digest}"
        self.lock = _scratch_root() / "locks" / digest

    def fetch(self) -> None:
        """Copy the complete files of the store here, and delete its unfinished ones."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        names = self._store.files()
        unfinished = [name for name in names if is_obsolete_after_end(name) and name != LAST_CHECKPOINT]
        self._store.remove(unfinished)
        for name in names:
            if name not in unfinished:
                self._store.download(name, self.scratch / name)
        self._there = self._here()

    def upload_changes(self) -> None:
        """Copy new and changed files to the store, and delete removed ones there."""
        here = self._here()
        changed = [name for name, state in here.items() if self._there.get(name) != state]
        if LAST_CHECKPOINT in changed:
            self._upload(LAST_CHECKPOINT, here)
        obsolete = [name for name in self._there if name not in here]
        for name in sorted(obsolete, key=_is_card, reverse=True):
            self._store.remove([name])
            del self._there[name]
        for name in sorted(changed, key=_is_card):
            if name != LAST_CHECKPOINT:
                self._upload(name, here)

    def _upload(self, name: str, here: dict[str, tuple[int, int]]) -> None:
        self._store.upload(self.scratch / name, name)
        self._there[name] = here[name]

    def _here(self) -> dict[str, tuple[int, int]]:
        """Return size and modification time of every file here."""
        states = {}
        for path in sorted(self.scratch.rglob("*")):
            name = path.relative_to(self.scratch).as_posix()
            if path.is_file() and (name == LAST_CHECKPOINT or not is_obsolete_after_end(name)):
                states[name] = (path.stat().st_size, path.stat().st_mtime_ns)
        return states


def lock_folder(directory: Path, wait_s: float = FOLDER_WAIT_S) -> int:
    """Lock a trial's folder until the returned handle is closed or this process dies.

    A worker that was believed dead, or whose driver was killed, may still work for a moment.
    On a file system without locks the folder is not locked.

    Raises:
        FolderInUseError: another process keeps it locked for ``wait_s``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(handle)
                raise FolderInUseError(f"another process has been at work in {directory} for {wait_s:g} s") from None
            time.sleep(0.1)
        except OSError:
            return handle
        else:
            return handle


def _is_card(name: str) -> bool:
    return name.endswith(f"/{CARD}")


def _scratch_root() -> Path:
    return Path(tempfile.gettempdir()) / f"{SCRATCH}-{os.getuid()}"


def _delete_scratch_of_dead_processes() -> None:
    """Delete the scratch folders of processes that died."""
    for folder in _scratch_root().glob("*-*"):
        pid = folder.name.partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)

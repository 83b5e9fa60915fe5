"""Where a worker trains one trial: a folder that it holds alone, kept the same as a storage if there is one."""

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
    """A trial's folder on this machine, held by this process until it is closed."""

    def __init__(self, where: str) -> None:
        """Hold the folder at a path; for a URI a scratch folder with all that lies there.

        Raises:
            FolderInUseError: another process works there all the time.
            OSError, StorageError: the folder or the storage cannot be used.
        """
        self._where = where
        self._mirror = RemoteMirror(where) if is_uri(where) else None
        self.folder = self._mirror.scratch if self._mirror else Path(where)
        self._handle: int | None = lock_folder(self._mirror.lock if self._mirror else self.folder)
        try:
            if self._mirror:
                self._mirror.fetch()
        except BaseException:
            self.close()
            raise

    def upload_changes(self) -> None:
        """Make the storage hold what lies here now.

        Raises:
            StorageError: it cannot be written.
        """
        if self._mirror:
            self._mirror.upload_changes()

    def name(self, folder: Path) -> str:
        """Return under what path or URI others find a folder of this trial."""
        return join_location(self._where, folder.name) if self._mirror else str(folder)

    def close(self) -> None:
        """Let go of the folder; what is only a copy is deleted."""
        if self._handle is None:
            return
        if self._mirror:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._handle)  # and with it the lock
        self._handle = None


class RemoteMirror:
    """Keeps a storage the same as a scratch folder.

    The file that a trial goes on from is written first: the moment it is there the epoch counts, because it holds all
    that comes after it. A selected checkpoint counts from its card on, which comes last and goes first.
    """

    def __init__(self, uri: str) -> None:
        self._place: RemoteStore = open_remote_store(uri)
        self._there: dict[str, tuple[int, int]] = {}
        _forget_dead()
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        self.scratch = _scratch_root() / f"{os.getpid()}-{digest}"
        self.lock = _scratch_root() / "locks" / digest

    def fetch(self) -> None:
        """Copy all that is whole in the storage here, and delete what is not."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        names = self._place.files()
        unfinished = [one for one in names if is_obsolete_after_end(one) and one != LAST_CHECKPOINT]
        self._place.remove(unfinished)
        for name in names:
            if name not in unfinished:
                self._place.download(name, self.scratch / name)
        self._there = self._here()

    def upload_changes(self) -> None:
        """Make the storage hold what lies here now."""
        here = self._here()
        news = [name for name, is_now in here.items() if self._there.get(name) != is_now]
        if LAST_CHECKPOINT in news:
            self._upload(LAST_CHECKPOINT, here)
        obsolete = [name for name in self._there if name not in here]
        for name in sorted(obsolete, key=_is_card, reverse=True):
            self._place.remove([name])
            del self._there[name]
        for name in sorted(news, key=_is_card):
            if name != LAST_CHECKPOINT:
                self._upload(name, here)

    def _upload(self, name: str, here: dict[str, tuple[int, int]]) -> None:
        self._place.upload(self.scratch / name, name)
        self._there[name] = here[name]

    def _here(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change of every file here."""
        found = {}
        for path in sorted(self.scratch.rglob("*")):
            name = path.relative_to(self.scratch).as_posix()
            if path.is_file() and (name == LAST_CHECKPOINT or not is_obsolete_after_end(name)):
                found[name] = (path.stat().st_size, path.stat().st_mtime_ns)
        return found


def lock_folder(directory: Path, wait_s: float = FOLDER_WAIT_S) -> int:
    """Make this process the only one that trains in a trial's folder, until it closes the handle or dies.

    A worker that was taken for dead, or whose driver was killed, may still be at work for a moment.
    On a file system without locks there is nothing to wait for.

    Raises:
        FolderInUseError: another process works there all the time.
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


def _forget_dead() -> None:
    """Delete the scratch folders of processes that died."""
    for left in _scratch_root().glob("*-*"):
        pid = left.name.partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)

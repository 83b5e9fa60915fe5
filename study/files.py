"""Safe reads in a folder that somebody else may have made, and atomic writes."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


class OutsideError(OSError):
    """A file of a results folder that links, or its name, lead out of it, or that is no plain file."""

    def __init__(self, law: str) -> None:
        super().__init__(errno.EPERM, law)

    def __str__(self) -> str:
        return str(self.strerror)


class InUseError(OSError):
    """A folder that another process is writing."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "another process is writing it; wait for that, or name another folder")

    def __str__(self) -> str:
        return str(self.strerror)


def expand_home(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~user`` at its beginning replaced by that home."""
    return Path(os.path.expanduser(path))


def require_inside(path: Path, root: Path) -> Path:
    """Return a path, which need not exist, if it is in a folder even after every link is followed.

    Raises:
        OutsideError: it is not.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise OutsideError(f"what is in {root} must not lead out of it, but {path} is {real}")
    return path


def open_inside(path: Path, root: Path) -> BufferedReader:
    """Open a plain file in a folder for reading; neither a link out of it nor a pipe or device is opened.

    Raises:
        OutsideError: it is one of these.
        OSError: it cannot be read.
    """
    require_inside(path, root)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OutsideError(f"{path} must be a plain file")


def read_inside(path: Path, root: Path) -> bytes:
    """Read a file as ``open_inside`` opens it."""
    with open_inside(path, root) as file:
        return file.read()


def refuse_links(root: Path, results: Path) -> None:
    """Make sure before writing that nothing in a study's folder leads out of the results folder.

    Raises:
        OutsideError: a link does, or there is a pipe, a socket or a device.
    """
    require_inside(root, results)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                require_inside(path, results)
            elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise OutsideError(f"{path} must be a plain file or a folder")


def ensure_home() -> None:
    """Give this process a home if it has none, a folder for temporary files: libraries need one to be imported.

    A user whom the system does not know, as in many containers, has none if HOME is not set.
    """
    try:
        Path.home()
    except RuntimeError:
        home = Path(tempfile.gettempdir()) / f"study-home-{os.getuid()}"
        with suppress(FileExistsError):
            home.mkdir(mode=0o700)
        is_own = home.lstat().st_uid == os.getuid() and not home.is_symlink()
        os.environ["HOME"] = str(home) if is_own else tempfile.mkdtemp(prefix="study-home-")


_PARTIAL_FILE = re.compile(r"\..*\.[0-9a-f]{32}\.part")


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, sync: bool = True) -> None:
    """Write a file whole or not at all: temporary sibling, flush, fsync, replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:  # not mkstemp: the file follows the umask
            write(file)
            if sync:
                sync_file(file)
        os.replace(part, path)
        if sync:
            sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files of writers that were killed, below a folder that nobody else writes to."""
    for part in folder.rglob(".*.part"):
        if _PARTIAL_FILE.fullmatch(part.name):
            with suppress(OSError):
                part.unlink()


@contextmanager
def staged_folder(out: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``out`` if the block succeeds.

    ``out`` must be new or empty, unless the new one ``replaces`` it with all that is in it. What a killed process left
    is removed.

    Raises:
        InUseError: another process writes ``out`` now.
    """
    out = out.resolve()  # "." has no name to put a sibling beside
    staging, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old.part")
    with _locked_empty(staging):
        try:
            yield staging
            if out.exists() and not replaces:
                out.rmdir()
            elif out.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.replace(out, old)
            try:
                os.replace(staging, out)
            except BaseException:  # Ctrl-C too
                if old.exists():
                    os.replace(old, out)
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if out.exists():
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked_empty(folder: Path) -> Iterator[None]:
    """Make a folder, or empty the one that is there, and lock it against other processes, also where it is moved to.

    Raises:
        InUseError: another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_free = os.path.samestat(os.fstat(handle), folder.stat())  # not moved since it was opened
        except (BlockingIOError, FileNotFoundError):
            is_free = False
        except OSError:  # a file system without locks
            is_free = True
        if not is_free:
            raise InUseError
        for child in folder.iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        yield
    finally:
        os.close(handle)


def sync_file(file: BinaryIO) -> None:
    """Make what was written to a file survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a folder's new names survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text_atomic(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_atomic(path, lambda file: file.write(text.encode()))

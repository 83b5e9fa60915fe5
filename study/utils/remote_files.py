"""Read, write and delete files in a local folder or in a remote store that pyarrow opens by a URI."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from study.errors import StorageError
from study.paths import CARD, SCORES, WEIGHTS, cache_dir, is_uri

UNFINISHED = ".part"
_BLOCK_BYTES = 1 << 22


class FileStore(Protocol):
    """A local or remote folder; names are relative, with slashes."""

    def files(self, under: str = "") -> list[str]:
        """Return the names of all files below ``under``, including unfinished ones and unfinished folders."""

    def remove(self, names: Iterable[str]) -> None:
        """Delete files that are there, and checkpoint folders that become empty."""

    def probe(self) -> None:
        """Write a file and delete it again."""


@dataclass(frozen=True)
class LocalStore:
    """A folder on a file system of this machine."""

    root: Path

    def files(self, under: str = "") -> list[str]:
        """Return the names of all files below ``under``, including unfinished files and folders."""
        paths = (self.root / under).rglob("*")
        return sorted(
            path.relative_to(self.root).as_posix() for path in paths if path.suffix == UNFINISHED or path.is_file()
        )

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, and checkpoint folders that become empty."""
        for path in (self.root / name for name in names):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                if _is_checkpoint(path.parent.name):
                    path.parent.rmdir()

    def probe(self) -> None:
        """Write a file and delete it again."""
        self.root.mkdir(parents=True, exist_ok=True)
        probe = self.root / ".writable"
        probe.write_bytes(b"yes")
        probe.unlink()


@dataclass(frozen=True)
class RemoteStore:
    """A folder of a pyarrow file system; its errors are raised as StorageError."""

    system: Any
    path: str
    uri: str

    def files(self, under: str = "") -> list[str]:
        """Return the names of all files below ``under``, including unfinished ones."""
        from pyarrow.fs import FileSelector, FileType

        with self._translated():
            entries = self.system.get_file_info(FileSelector(self._at(under), recursive=True, allow_not_found=True))
        root = f"{self.path.rstrip('/')}/"
        return sorted(entry.path.removeprefix(root) for entry in entries if entry.type == FileType.File)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files, and checkpoint folders that become empty."""
        names = list(names)
        with self._translated():
            for name in names:
                with suppress(FileNotFoundError):
                    self.system.delete_file(self._at(name))
        for folder in dict.fromkeys(name.rpartition("/")[0] for name in names):
            if _is_checkpoint(folder.rpartition("/")[2]) and not self.files(folder):
                with self._translated(), suppress(FileNotFoundError):
                    self.system.delete_dir(self._at(folder))

    def probe(self) -> None:
        """Write a file and delete it again."""
        probe = self._at(".writable")
        with self._translated():
            self.system.create_dir(self.path, recursive=True)
            with self.system.open_output_stream(probe) as stream:
                stream.write(b"yes")
            self.system.delete_file(probe)

    def upload(self, source: Path, name: str) -> None:
        """Write a file whole or not at all: under another name first."""
        target = self._at(name)
        folder, _, last = target.rpartition("/")
        part = f"{folder}/.{last}{UNFINISHED}"
        with self._translated():
            self.system.create_dir(folder, recursive=True)
            with source.open("rb") as file, self.system.open_output_stream(part) as stream:
                shutil.copyfileobj(file, stream, _BLOCK_BYTES)
            self.system.move(part, target)

    def download(self, name: str, target: Path) -> None:
        """Copy a file to ``target``, whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{uuid4().hex}{UNFINISHED}")
        with self._translated(), self.system.open_input_stream(self._at(name)) as stream, part.open("wb") as file:
            shutil.copyfileobj(stream, file, _BLOCK_BYTES)
        part.replace(target)

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}".rstrip("/")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ArrowException, NotImplementedError) as error:
            raise StorageError(f"storage {self.uri}: {error}") from error


def open_store(where: str) -> FileStore:
    """Return the store at a path or URI without accessing it."""
    return open_remote_store(where) if is_uri(where) else LocalStore(Path(where))


def open_remote_store(uri: str) -> RemoteStore:
    """Return the store at a URI.

    Raises:
        StorageError: pyarrow does not support the URI, or needs another library for it.
    """
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    try:
        system, path = FileSystem.from_uri(uri)
    except (OSError, ArrowException) as error:
        raise StorageError(f"storage {uri}: {error}; pyarrow knows file, s3, gs, abfs and hdfs URIs") from error
    return RemoteStore(system, path, uri)


def join_location(where: str, *parts: str) -> str:
    """Append path components to a path or URI, keeping a URI's query."""
    if not is_uri(where):
        return str(Path(where, *parts))
    split = urlsplit(where)
    return urlunsplit(split._replace(path="/".join([split.path.rstrip("/"), *parts])))


def _is_checkpoint(folder: str) -> bool:
    return folder.startswith(("epoch-", ".epoch-"))


def download_checkpoint(checkpoint: str) -> Path:
    """Return a selected checkpoint as a folder on this machine, copied to the cache if it is remote.

    Raises:
        StorageError: it cannot be read.
    """
    if not is_uri(checkpoint):
        return Path(checkpoint)
    place = open_remote_store(checkpoint)
    folder = cache_dir() / "checkpoints" / hashlib.sha256(checkpoint.encode()).hexdigest()[:32]
    fresh = folder / f"new-{uuid4().hex}-{CARD}"  # another process may fetch it too
    place.download(CARD, fresh)
    if not (folder / CARD).exists() or (folder / CARD).read_bytes() != fresh.read_bytes():
        for name in (CARD, SCORES, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
    there = place.files()
    for name in (SCORES, WEIGHTS):
        if name not in there:
            (folder / name).unlink(missing_ok=True)
        elif not (folder / name).exists():
            place.download(name, folder / name)
    fresh.replace(folder / CARD)
    return folder

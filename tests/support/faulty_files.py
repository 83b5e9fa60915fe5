"""A file layer of which the n-th write fails, as on a full, read-only or broken disk."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WRITING = frozenset("wax+")
FAULTS = ("full", "read-only", "broken", "short")
_CODES = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO, "short": errno.ENOSPC}


@dataclass
class FaultyDisk:
    """Counts what is written below a folder, and lets the n-th write and all later ones fail until it is mended.

    A ``full`` disk takes no bytes and no new names, but files may shrink and vanish; a ``read-only`` one takes nothing
    at all; a ``broken`` one cannot flush either; a ``short`` write takes half of the bytes before the disk is full.
    ``spares`` says which paths are somebody else's.
    """

    root: Path
    kind: str = "full"
    at: int = 0
    spares: Callable[[str], bool] = lambda path: False
    writes: int = 0
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def installed(self) -> Iterator[FaultyDisk]:
        """Put the layer under Python's files and the system's calls."""
        with pytest.MonkeyPatch.context() as patch:
            opening, os_open = io.open, os.open
            for module in (io, builtins):
                patch.setattr(module, "open", lambda *given, **named: self._open(opening, *given, **named))
            patch.setattr(os, "open", lambda *given, **named: self._os_open(os_open, *given, **named))
            for name in ("write", "fsync", "ftruncate"):
                patch.setattr(os, name, self._of_handle(name, getattr(os, name)))
            for name in ("replace", "unlink", "mkdir"):
                patch.setattr(os, name, self._of_path(name, getattr(os, name)))
            yield self

    def strike(self, call: str, path: str) -> bool:
        """Count one call; return whether it fails."""
        if self.spares(path) or not path.startswith(str(self.root)):
            return False
        if call in _UNCOUNTED[self.kind]:
            return False
        self.writes += 1
        fails = bool(self.at) and self.writes >= self.at
        if fails:
            self.failed.append(f"{call} {path}")
        return fails

    def error(self, path: str) -> OSError:
        """Return what the system says."""
        code = _CODES[self.kind]
        return OSError(code, os.strerror(code), path)

    def _open(self, opening: Callable[..., Any], file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        path = None if isinstance(file, int) else os.fspath(file)
        if path is None or not WRITING & set(mode):
            return opening(file, mode, *given, **named)
        if self.strike("create" if not os.path.exists(path) else "open", str(path)):
            raise self.error(str(path))
        stream = opening(file, mode, *given, **named)
        inside = str(path).startswith(str(self.root)) and not self.spares(str(path))
        return _Watched(stream, str(path), self) if inside else stream

    def _os_open(self, call: Callable[..., int], path: Any, flags: int, *given: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            kind = "create" if not os.path.exists(path) else "open"
            if self.strike(kind, str(path)):
                raise self.error(str(path))
        return call(path, flags, *given, **named)

    def _of_handle(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(handle: int, *given: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{handle}")
            if self.strike(name, path):
                if self.kind == "short" and name == "write" and len(self.failed) == 1:
                    return call(handle, given[0][: max(1, len(given[0]) // 2)])
                raise self.error(path)
            return call(handle, *given)

        return watched

    def _of_path(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *given: Any, **named: Any) -> Any:
            if self.strike(name, str(path)):
                raise self.error(str(path))
            return call(path, *given, **named)

        return watched


_NOTHING_NEW = ("open", "unlink", "ftruncate", "truncate", "fsync", "replace")
_UNCOUNTED = {"full": _NOTHING_NEW, "short": _NOTHING_NEW, "read-only": (), "broken": ("open", "unlink", "mkdir")}


class _Watched:
    """A file whose writes ask the disk first."""

    def __init__(self, file: Any, path: str, disk: FaultyDisk) -> None:
        self._file, self._path, self._disk = file, path, disk

    def write(self, data: Any) -> int:
        if self._disk.strike("write", self._path):
            if self._disk.kind == "short" and len(self._disk.failed) == 1 and isinstance(self._file, io.RawIOBase):
                return int(self._file.write(data[: max(1, len(data) // 2)]))
            raise self._disk.error(self._path)
        return int(self._file.write(data))

    def truncate(self, size: int | None = None) -> int:
        if self._disk.strike("truncate", self._path):
            raise self._disk.error(self._path)
        return int(self._file.truncate(size))

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *given: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

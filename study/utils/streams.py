"""Standard output and error that no name can break: escaped text, and clear errors where a disk is full."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from study.errors import StudyError
from study.utils.text import printable


class OutputError(StudyError):
    """Standard output takes no more: its disk is full, or nobody reads it any more."""


class _Output(io.FileIO):
    """A file descriptor whose faults go to ``on_fault``; if that returns, the output counts as written."""

    def __init__(self, descriptor: int, on_fault: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._on_fault = on_fault

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all bytes."""
        left = memoryview(data).cast("B")
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            self._on_fault(error)
        return len(memoryview(data).cast("B"))


_RESET = "\x1b[0m"
"""What colorama, which Ray uses, writes to a terminal at the process's end."""


class PlainText(io.TextIOBase):
    """Text without control characters: what does not print is escaped, but for line ends.

    ``styled`` takes text as it is, for escape sequences that are meant, such as Rich's.
    """

    def __init__(self, styled: io.TextIOWrapper) -> None:
        self.styled = styled

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return self.styled.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What becomes of characters that the encoding lacks."""
        return self.styled.errors

    def write(self, text: str) -> int:
        """Write text, escaped where it does not print."""
        return self.styled.write(text if text == _RESET else plain_text(text))

    def flush(self) -> None:
        """Write what is buffered."""
        self.styled.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.styled.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self.styled.fileno()


def plain_text(text: str) -> str:
    """Return text of one or several lines with every character escaped that does not print."""
    if text.isprintable():
        return text
    lines = text.split("\n")
    ends = [line.endswith("\r") for line in lines[:-1]] + [False]  # CSV ends its lines with CR LF
    return "\n".join(
        f"{printable(line[:-1])}\r" if crlf else printable(line) for line, crlf in zip(lines, ends, strict=True)
    )


def styled(stream: TextIO | PlainText) -> TextIO:
    """Return the stream to which Rich may write, whose escape sequences are meant."""
    return stream.styled if isinstance(stream, PlainText) else stream


def open_output(
    descriptor: int, encoding: str, on_fault: Callable[[OSError], None], *, lines: bool = True
) -> PlainText:
    """Open a file descriptor for text; characters that its encoding lacks are escaped.

    Args:
        descriptor: stays open.
        encoding: of the text.
        on_fault: is called when something cannot be written; if it returns, that counts as written.
        lines: whether each line is written at once.
    """
    buffered = io.BufferedWriter(_Output(descriptor, on_fault))  # type: ignore[type-var]
    return PlainText(io.TextIOWrapper(buffered, encoding=encoding, errors="backslashreplace", line_buffering=lines))


def guard_standard_streams() -> None:
    """Replace the process's standard output and error by ``PlainText``; one that is closed leads nowhere.

    A fault of standard output is raised as OutputError, one of standard error is passed over.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is sys.__stdout__:  # else somebody collects it
        encoding = sys.stdout.encoding if sys.stdout else "utf-8"
        sys.stdout = open_output(1, encoding, _refuse, lines=os.isatty(1))
    if sys.stderr is sys.__stderr__:
        sys.stderr = open_output(2, sys.stderr.encoding if sys.stderr else "utf-8", lambda error: None)


def _refuse(error: OSError) -> None:
    """Raise OutputError; what is left in buffers goes nowhere then."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    why = "nobody reads it any more" if error.errno == errno.EPIPE else error.strerror
    raise OutputError(f"standard output must take what is printed, but {why}") from error

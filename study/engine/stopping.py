"""What stops a run before its trials end: a request of the user, an interrupt, an error of the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from study.files import write_text_atomic
from study.paths import StudyLayout


class StopRequest(StrEnum):
    """SOON ends every trial after its current epoch; NOW leaves the trials as they are, to be resumed later."""

    SOON = "soon"
    NOW = "now"


def request_stop(layout: StudyLayout, request: StopRequest) -> None:
    """Ask the driver of the study to stop."""
    write_text_atomic(layout.stop_request, request.value)


def stop_requested(layout: StudyLayout) -> StopRequest | None:
    """Return what was asked of the driver, None for nothing; an unknown word counts as SOON."""
    try:
        text = layout.stop_request.read_text(encoding="utf-8")
    except OSError:
        return None
    return StopRequest.NOW if text == StopRequest.NOW.value else StopRequest.SOON


def clear_stop_request(layout: StudyLayout) -> None:
    """Withdraw a request, also one that an earlier driver never saw."""
    layout.stop_request.unlink(missing_ok=True)


class ErrorCapture:
    """Whether the run is to stop at once: on an interrupt, or because code called by Tune raised an error.

    Tune would swallow or wrap such an error; here it is kept until the run has ended.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self.interrupted = False

    def interrupt(self) -> bool:
        """Stop the run at the next opportunity; return whether that was asked before."""
        before, self.interrupted = self.interrupted, True
        return before

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Keep an error of the block for ``raise_captured``, and stop the run."""
        try:
            yield
        except Exception as error:
            self._error = self._error or error
            self.interrupted = True

    def raise_captured(self) -> None:
        """Raise the first error that ``capture_errors`` kept, if any."""
        if self._error is not None:
            raise self._error

"""Pass events on to several listeners, and warnings to the screen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from study.events import Event, Recorder, Reports
from study.layout import StudyLayout
from study.records import TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Tee:
    """A recorder that hands everything to several others, in order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def record(self, event: Event) -> None:
        """Hand one event on."""
        for recorder in self._recorders:
            recorder.record(event)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: Reports) -> None:
        """Hand earlier trials on."""
        for recorder in self._recorders:
            recorder.catch_up(records, at_s, reports)

    def close(self) -> None:
        """Close all, the last first, so that the screen rests while the tracker still sends."""
        for recorder in reversed(self._recorders):
            recorder.close()


def illustrated(
    inner: Recorder, layout: StudyLayout, classes: tuple[str, ...], images: NDArray[np.uint8], names: Sequence[str]
) -> Recorder:
    """Return a recorder that also draws every finished trial; images and names are those of validation, in order."""
    from study.report.illustrator import Illustrator

    return Illustrator(inner, layout, classes, images, names)


class WarningLines(logging.Handler):
    """Show warnings of one logger as lines on the screen; its log file has them too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        self._say(record.getMessage())

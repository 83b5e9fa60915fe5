"""All errors that are shown to the user.

StudyError                  exit code 1: one message, no traceback
├── SpecError               exit code 2: all faults of a study file, each with its place
├── UsageError              exit code 2: contradictory or meaningless arguments
├── DesignError             a space that does not admit the design
├── DataError               images that cannot be read, split or found
├── WeightsError            pretrained weights that are missing or do not fit
├── TrainingError           a trial that cannot go on
│   └── NonFiniteLossError  the loss became NaN or infinite
├── StudyStorageError       the durable state of a study is missing, in use or damaged
├── EngineError             Ray cannot place or run the trials
│   └── StorageError        the trials' files cannot be read or written
├── TrackingError           MLflow cannot be reached or refuses a request
└── ExportError             a checkpoint that cannot be turned into a bundle
    └── BundleError         a bundle that is damaged, was changed or cannot be used
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.paths import StudyLayout


class StudyError(Exception):
    """An error that the user can fix; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(StudyError):
    """Contradictory or meaningless arguments."""

    exit_code = 2


class DesignError(StudyError, ValueError):
    """A space that does not admit the design, such as a baseline whose weights are missing."""


@dataclass(frozen=True)
class Fault:
    """One fault of a study file; line and column count from 1, 0 means unknown."""

    message: str
    line: int = 0
    column: int = 0


class SpecError(StudyError):
    """Every fault of a study file at once, each as ``file:line:column: message`` on a line of its own."""

    exit_code = 2

    def __init__(self, path: str, faults: Sequence[Fault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))
        super().__init__("\n".join(_located(path, fault) for fault in self.faults))


def _located(path: str, fault: Fault) -> str:
    place = f"{path}:{fault.line}:{fault.column}" if fault.line else path
    return f"{place}: {fault.message}"


class DataError(StudyError):
    """Images that cannot be read, split or found."""


class WeightsError(StudyError):
    """Pretrained weights that are missing or do not fit."""


class TrainingError(StudyError):
    """A trial that cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; raised before the optimizer steps."""


class StudyStorageError(StudyError):
    """The durable state of a study is missing, in use or damaged."""


class EngineError(StudyError):
    """Ray cannot place or run the trials."""


class StorageError(EngineError):
    """The trials' files cannot be read or written."""


class TrackingError(StudyError):
    """MLflow cannot be reached or refuses a request."""


class ExportError(StudyError):
    """A checkpoint that cannot be turned into a bundle."""


class BundleError(ExportError):
    """A bundle that is damaged, was changed or cannot be used."""


def missing(layout: StudyLayout) -> StudyStorageError:
    """Return the error of a study that is not there."""
    return StudyStorageError(f"no study in {layout.root}; `study list{layout.results_option}` shows those there are")


def damaged(layout: StudyLayout, cause: Exception) -> StudyStorageError:
    """Return the error of a journal that cannot be read."""
    return StudyStorageError(
        f"{layout.journal} must be a whole journal of one study, but is damaged ({cause}); "
        "restore it from a backup, or move the folder away to start again"
    )

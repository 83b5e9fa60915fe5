"""The attributes stored of a study as a whole, whoever read them; no I/O and no import of Optuna."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import DataSummary, FinalLook, StopReason, TrialState

if TYPE_CHECKING:
    from study.search.prior_trials import PriorTrial

SPEC, ENDED_AT, END_REASON, EXHAUSTED = "spec", "ended_at_s", "end_reason", "exhausted"
LOOKS, EXTENSIONS, SESSIONS = "test_looks", "extensions", "sessions"
DROPPED_PREFIX = "dropped:"
DROPPED_LINE = 100
"""Dropped trials are noted in lines of so many numbers, so that a line stays short."""


class StudyAttributes(ABC):
    """The attributes of a study, whoever reads them; ``spec`` is what is run, extensions included."""

    spec: StudySpec

    @property
    @abstractmethod
    def name(self) -> str:
        """The study's name."""

    @property
    @abstractmethod
    def _attrs(self) -> Mapping[str, Any]:
        """What was stored, by key."""

    @property
    def study_id(self) -> str:
        """An identifier that never changes and, unlike the name, is unique everywhere."""
        return str(self._attrs["study_id"])

    @property
    def study_file(self) -> str:
        """The study file as it was given."""
        return str(self._attrs["study_file"])

    @property
    def given(self) -> StudySpec:
        """The study as its file gave it, before values that cannot be run were taken out and before extensions."""
        return StudySpec.model_validate_json(self._attrs.get("given") or self._attrs[SPEC])

    @property
    def created_at_s(self) -> float:
        """When the study began, in seconds since 1970."""
        return float(self._attrs["created_at_s"])

    @property
    def notices(self) -> tuple[str, ...]:
        """Remarks for the record, such as a value that was dropped from the space."""
        return tuple(self._attrs.get("notices", ()))

    @property
    def environment(self) -> Mapping[str, str]:
        """Versions and device of the machine the study began on."""
        return dict(self._attrs.get("environment", {}))

    @property
    def warm_start(self) -> tuple[PriorTrial, ...]:
        """The points of earlier studies that the sampler was given."""
        from study.search.prior_trials import PriorTrial

        return tuple(PriorTrial.from_json(prior) for prior in self._attrs.get("warm_start", ()))

    @property
    def extensions(self) -> tuple[Mapping[str, Any], ...]:
        """Every extension, the oldest first: ``at_s`` and ``changes``, a pair of values by field."""
        return tuple(self._attrs.get(EXTENSIONS, ()))

    @property
    def data(self) -> DataSummary:
        """What the study runs on."""
        stored = self._attrs["data"]
        return DataSummary(**{**stored, "classes": tuple(stored["classes"]), "skipped": tuple(stored["skipped"])})

    @property
    def looks(self) -> tuple[FinalLook, ...]:
        """Every evaluation on the test images, the first one first."""
        return tuple(FinalLook(**look) for look in self._attrs.get(LOOKS, ()))

    @property
    def end_reason(self) -> StopReason | None:
        """Why the study ended before all planned trials did, None if it did not or goes on."""
        reason = self._attrs.get(END_REASON)
        return None if reason is None else StopReason(reason)

    def read_all(self) -> None:
        """Read every attribute once, so that damaged ones are noticed here; raises what reading them raises."""
        unread = {"name", "_attrs"}
        if not self._attrs.get("warm_start"):
            unread.add("warm_start")  # it imports the samplers
        for name, attribute in vars(StudyAttributes).items():
            if isinstance(attribute, property) and name not in unread:
                getattr(self, name)

    def require_data(self, fingerprint: str, changes: str = "") -> None:
        """Make sure that the data is what the study began on: the same pixels and labels, in whatever folder.

        Raises:
            StudyStorageError: it changed; the message has ``changes``.
        """
        known = self.data.fingerprint
        if known != fingerprint:
            raise StudyStorageError(
                f"a study's data must stay the same, but `{self.name}` began on {known[:12]} and the data is now "
                f"{fingerprint[:12]}{changes}; put it back, or start another study with --name"
            )

    def _has_ended(self, counts: Mapping[TrialState, int], planned: int) -> bool:
        """Whether the study's end was noted and nothing is left to do; a user's stop is no such end."""
        if self._attrs.get(ENDED_AT) is None or counts[TrialState.RUNNING]:
            return False
        finished = sum(count for state, count in counts.items() if state.is_finished)
        return finished >= planned or self.end_reason not in (None, StopReason.USER)

    def _is_kept(self, number: int) -> bool:
        return number not in self._dropped(number // DROPPED_LINE)

    def _dropped(self, line: int) -> list[int]:
        numbers: list[int] = self._attrs.get(f"{DROPPED_PREFIX}{line}", [])
        return numbers


def refuse_existing(layout: StudyLayout, name: str) -> None:
    """Make sure that a study's name is new.

    Raises:
        StudyStorageError: it is not.
    """
    if layout.journal.exists():
        raise StudyStorageError(
            f"a study's name must be new, but `{name}` exists; `{layout.command('resume')}` goes on with it, "
            "`study run FILE --name OTHER` starts another"
        )

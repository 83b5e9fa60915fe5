"""Read what is true of a study as a whole from the attributes stored of it; no I/O and nothing of Optuna."""

from __future__ import annotations

import shlex
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.study import StudyDirection

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import DataSummary, FinalLook, StopReason, TrialState
from study.search.prior_trials import PriorTrial
from study.storage.journal import BatchedJournalStorage, replace_journal

SPEC, ENDED_AT, END_REASON, EXHAUSTED = "spec", "ended_at_s", "end_reason", "exhausted"
LOOKS, EXTENSIONS = "test_looks", "extensions"
DROPPED_PREFIX = "dropped:"
DROPPED_LINE = 100
"""Dropped trials are noted in lines of so many numbers, so that a note stays short."""


class StudyAttributes(ABC):
    """The attributes of a study, whoever read them; ``spec`` is what is run, as it is now."""

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
        """An identifier that never changes, unlike the name unique everywhere."""
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
        """What the record must say of the study, such as a value that was dropped from the space."""
        return tuple(self._attrs.get("notices", ()))

    @property
    def environment(self) -> Mapping[str, str]:
        """What the study began on: versions, device."""
        return dict(self._attrs.get("environment", {}))

    @property
    def warm_start(self) -> tuple[PriorTrial, ...]:
        """The points of earlier studies that the sampler was given."""
        from study.search.prior_trials import PriorTrial

        return tuple(PriorTrial.from_json(one) for one in self._attrs.get("warm_start", ()))

    @property
    def extensions(self) -> tuple[Mapping[str, Any], ...]:
        """Every time something was added, the oldest first: ``at_s`` and ``changes``, a pair of values by field."""
        return tuple(self._attrs.get(EXTENSIONS, ()))

    @property
    def data(self) -> DataSummary:
        """What the study runs on."""
        stored = self._attrs["data"]
        return DataSummary(**{**stored, "classes": tuple(stored["classes"]), "skipped": tuple(stored["skipped"])})

    @property
    def looks(self) -> tuple[FinalLook, ...]:
        """Every look at the test images, the first one first."""
        return tuple(FinalLook(**one) for one in self._attrs.get(LOOKS, ()))

    @property
    def end_reason(self) -> StopReason | None:
        """Why the study ended before all planned trials did, None if it did not or goes on."""
        found = self._attrs.get(END_REASON)
        return None if found is None else StopReason(found)

    def require_data(self, fingerprint: str) -> None:
        """Make sure that the data is what the study began on.

        Raises:
            StudyStorageError: it changed.
        """
        known = self.data.fingerprint
        if known != fingerprint:
            raise StudyStorageError(
                f"a study's data must stay the same, but `{self.name}` began on {known[:12]} "
                f"and the data is now {fingerprint[:12]}; put it back, or start another study with --name"
            )

    def _has_ended(self, counts: Mapping[TrialState, int], planned: int) -> bool:
        """Whether everybody heard of an end after which nothing is left to do: a user's stop is no such end."""
        if self._attrs.get(ENDED_AT) is None or counts[TrialState.RUNNING]:
            return False
        finished = sum(count for state, count in counts.items() if state.is_finished)
        return finished >= planned or self.end_reason not in (None, StopReason.USER)

    def _is_kept(self, number: int) -> bool:
        return number not in self._dropped(number // DROPPED_LINE)

    def _dropped(self, line: int) -> list[int]:
        found: list[int] = self._attrs.get(f"{DROPPED_PREFIX}{line}", [])
        return found


def create(
    layout: StudyLayout,
    spec: StudySpec,
    study_file: str,
    *,
    given: StudySpec,
    data: DataSummary,
    notices: Sequence[str],
    warm_start: Sequence[PriorTrial],
    environment: Mapping[str, str],
) -> None:
    """Write the storage of a study that has no trial yet.

    Raises:
        StudyStorageError: there is one already, or the folder cannot be written.
    """
    refuse_existing(layout, spec.name)
    directions = [
        StudyDirection.MAXIMIZE if one.mode == "max" else StudyDirection.MINIMIZE for one in spec.objective_list
    ]
    attributes = {
        "study_id": uuid.uuid4().hex,
        "spec": spec.model_dump_json(),
        "given": given.model_dump_json(),
        "study_file": study_file,
        "data": asdict(data),
        "notices": list(notices),
        "environment": dict(environment),
        "warm_start": [one.as_json() for one in warm_start],
        "created_at_s": time.time(),
    }
    try:
        _write(layout.journal, spec.name, directions, attributes)
    except OSError as error:
        raise StudyStorageError(f"{layout.root} must be writable, but: {error.strerror or error}") from error


def _write(journal: Path, name: str, directions: Sequence[StudyDirection], attributes: Mapping[str, object]) -> None:
    staging = journal.with_name(f".{journal.name}.part")
    staging.unlink(missing_ok=True)
    storage = BatchedJournalStorage(staging)
    study_id = storage.create_new_study(directions, name)
    with storage.batch():
        for key, value in attributes.items():
            storage.set_study_user_attr(study_id, key, value)
    replace_journal(staging, journal)  # a half-made study is never seen
    staging.with_name(f"{staging.name}.lock").unlink(missing_ok=True)


def refuse_existing(layout: StudyLayout, name: str) -> None:
    """Make sure that a study's name is new.

    Raises:
        StudyStorageError: it is not.
    """
    if layout.journal.exists():
        raise StudyStorageError(
            f"a study's name must be new, but `{name}` exists; `study resume {shlex.quote(name)}` goes on with it, "
            "`study run FILE --name OTHER` starts another"
        )


SESSIONS = "sessions"


class StudyNotes(StudyAttributes):
    """The attributes of the study itself; every method that returns has its effect on disk."""

    def __init__(self, storage: BatchedJournalStorage) -> None:
        (study,) = storage.get_all_studies()
        self._storage = storage
        self._study_id = study._study_id
        self._name = study.study_name
        self.spec = StudySpec.model_validate_json(self._attrs[SPEC])

    @property
    def name(self) -> str:
        """The study's name."""
        return self._name

    def record_test_evaluation(self, look: FinalLook) -> None:
        """Remember that the test images were looked at; the caller holds the study's lock."""
        self._note(LOOKS, [asdict(one) for one in (*self.looks, look)])

    def note_end(self, reason: StopReason | None = None) -> None:
        """Note that everybody heard of the study's end, and why it came before all planned trials ended, if so."""
        with self._storage.batch():
            self._note(END_REASON, None if reason is None else reason.value)
            self._note(ENDED_AT, time.time())

    def note_dropped(self, numbers: tuple[int, ...] | list[int]) -> None:
        """Note that the weights of these trials were deleted."""
        lines = {number // DROPPED_LINE for number in numbers}
        with self._storage.batch():
            for line in sorted(lines):
                here = {one for one in numbers if one // DROPPED_LINE == line}
                self._note(f"{DROPPED_PREFIX}{line}", sorted(here | set(self._dropped(line))))

    def _note_extension(self, spec: StudySpec) -> None:
        changes = dict(_differences(self.spec.model_dump(mode="json"), spec.model_dump(mode="json")))
        with self._storage.batch():
            self._forget_end()
            self._note(EXTENSIONS, [*self.extensions, {"at_s": time.time(), "changes": changes}])
            self._note(SPEC, spec.model_dump_json())
        self.spec = spec

    def _forget_end(self) -> None:
        self._note(END_REASON, None)
        self._note(ENDED_AT, None)

    @property
    def _attrs(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._storage.get_study_user_attrs(self._study_id)
        return found

    def _note(self, key: str, value: object) -> None:
        self._storage.set_study_user_attr(self._study_id, key, value)


def _differences(before: object, after: object, field: str = "") -> list[tuple[str, list[object]]]:
    """Return every field of two JSON values that differs, with both values; lists are one field."""
    if before == after:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [(field, [before, after])]
    names = dict.fromkeys((*before, *after))
    return [
        found
        for name in names
        for found in _differences(before.get(name), after.get(name), f"{field}.{name}" if field else str(name))
    ]

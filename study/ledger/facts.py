"""Remember what is true of a study as a whole: what it runs, on what, when, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from study.ledger.attributes import (
    DROPPED_LINE,
    DROPPED_PREFIX,
    END_REASON,
    ENDED_AT,
    EXTENSIONS,
    LOOKS,
    SPEC,
    StudyAttributes,
)
from study.ledger.journal import BatchedJournal
from study.records import FinalLook, StopReason
from study.spec import StudySpec

SESSIONS = "sessions"


class StudyFacts(StudyAttributes):
    """The attributes of the study itself; every method that returns has its effect on disk."""

    def __init__(self, storage: BatchedJournal) -> None:
        (study,) = storage.get_all_studies()
        self._storage = storage
        self._study_id = study._study_id
        self._name = study.study_name
        self.spec = StudySpec.model_validate_json(self._attrs[SPEC])

    @property
    def name(self) -> str:
        """The study's name."""
        return self._name

    def note_look(self, look: FinalLook) -> None:
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

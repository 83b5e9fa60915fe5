"""The attributes of a study in Optuna's storage: created, read and changed durably."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.study import StudyDirection

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import DataSummary, FinalLook, StopReason
from study.search.optuna_adapter import study_directions
from study.search.prior_trials import PriorTrial
from study.storage.journal import BatchedJournalStorage, replace_journal
from study.storage.study_attributes import (
    DROPPED_LINE,
    DROPPED_PREFIX,
    END_REASON,
    ENDED_AT,
    EXTENSIONS,
    LOOKS,
    SPEC,
    StudyAttributes,
    refuse_existing,
)


def create_study(
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
    """Write the journal of a study that has no trial yet.

    Raises:
        StudyStorageError: there is one already, or the folder cannot be written.
    """
    refuse_existing(layout, spec.name)
    directions = study_directions(spec)
    attributes = {
        "study_id": uuid.uuid4().hex,
        "spec": spec.model_dump_json(),
        "given": given.model_dump_json(),
        "study_file": study_file,
        "data": asdict(data),
        "notices": list(notices),
        "environment": dict(environment),
        "warm_start": [prior.as_json() for prior in warm_start],
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


class StoredStudy(StudyAttributes):
    """The attributes of the study itself; every method that returns has its effect on disk."""

    def __init__(self, storage: BatchedJournalStorage) -> None:
        (study,) = storage.get_all_studies()
        self._storage = storage
        self._name = study.study_name
        self._study_id = storage.get_study_id_from_name(self._name)
        self.spec = StudySpec.model_validate_json(self._attrs[SPEC])

    @property
    def name(self) -> str:
        """The study's name."""
        return self._name

    def record_test_evaluation(self, look: FinalLook) -> None:
        """Remember that the test images were looked at; the caller holds the study's lock."""
        self._note(LOOKS, [asdict(known) for known in (*self.looks, look)])

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
                here = {number for number in numbers if number // DROPPED_LINE == line}
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
        attrs: Mapping[str, Any] = self._storage.get_study_user_attrs(self._study_id)
        return attrs

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
        difference
        for name in names
        for difference in _differences(before.get(name), after.get(name), f"{field}.{name}" if field else str(name))
    ]

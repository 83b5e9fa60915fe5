"""Begin the ledger of a new study, whole or not at all."""

from __future__ import annotations

import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from optuna.study import StudyDirection

from study.errors import LedgerError
from study.layout import StudyLayout
from study.ledger.journal import BatchedJournal, publish
from study.ledger.prior import PriorPoint
from study.records import DataSummary
from study.spec import StudySpec


def create(
    layout: StudyLayout,
    spec: StudySpec,
    study_file: str,
    *,
    given: StudySpec,
    data: DataSummary,
    notices: Sequence[str],
    warm_start: Sequence[PriorPoint],
    environment: Mapping[str, str],
) -> None:
    """Write the ledger of a study that has no trial yet.

    Raises:
        LedgerError: there is one already, or the folder cannot be written.
    """
    refuse_existing(layout, spec.name)
    directions = [StudyDirection.MAXIMIZE if one.mode == "max" else StudyDirection.MINIMIZE for one in spec.aims]
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
        _write(layout.ledger, spec.name, directions, attributes)
    except OSError as error:
        raise LedgerError(f"{layout.root} must be writable, but: {error.strerror or error}") from error


def _write(journal: Path, name: str, directions: Sequence[StudyDirection], attributes: Mapping[str, object]) -> None:
    staging = journal.with_name(f".{journal.name}.part")
    staging.unlink(missing_ok=True)
    storage = BatchedJournal(staging)
    study_id = storage.create_new_study(directions, name)
    with storage.batch():
        for key, value in attributes.items():
            storage.set_study_user_attr(study_id, key, value)
    publish(staging, journal)  # a half-made study is never seen
    staging.with_name(f"{staging.name}.lock").unlink(missing_ok=True)


def refuse_existing(layout: StudyLayout, name: str) -> None:
    """Make sure that a study's name is new.

    Raises:
        LedgerError: it is not.
    """
    if layout.ledger.exists():
        raise LedgerError(
            f"a study's name must be new, but `{name}` exists; `study resume {shlex.quote(name)}` goes on with it, "
            "`study run FILE --name OTHER` starts another"
        )

"""Names and keys of a study's MLflow runs: the name is for people, the key (tag ``study.key``) finds the run again."""

from __future__ import annotations

import hashlib
import re

_QUOTABLE = re.compile(r"[\w.:@+-]{1,200}", re.ASCII)


def trial_run_name(trial: int) -> str:
    """Return the name of a trial's run."""
    return f"trial {trial:04d}"


def study_key(study_id: str) -> str:
    """Return the key of a study: its id, hashed where MLflow's filters could not quote it."""
    return study_id if _QUOTABLE.fullmatch(study_id) else hashlib.sha256(study_id.encode()).hexdigest()


def trial_key(study_id: str, trial: int) -> str:
    """Return the key of a trial's run."""
    return f"{study_key(study_id)}/{trial}"

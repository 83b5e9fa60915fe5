"""Remember which MLflow run belongs to which trial, so that others can join them without MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from study.errors import TrackingError
from study.layout import StudyLayout, write_text_atomic
from tracking.uri import MASK, SQLITE, mask_uri


@dataclass(frozen=True)
class Runs:
    """Run ids of one study on one server; the URI has no secrets in it."""

    tracking_uri: str
    experiment_id: str | None = None
    parent: str | None = None
    trials: Mapping[int, str] = field(default_factory=dict)


def load_runs(path: Path) -> Runs | None:
    """Return the run ids written last, None when there are none."""
    try:
        found = json.loads(path.read_text())
        trials = {int(trial): run for trial, run in found["trials"].items()}
        return Runs(found["tracking_uri"], found["experiment_id"], found["parent"], trials)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save_runs(path: Path, runs: Runs) -> None:
    """Write the run ids, whole or not at all."""
    body = {
        "tracking_uri": runs.tracking_uri,
        "experiment_id": runs.experiment_id,
        "parent": runs.parent,
        "trials": {str(trial): run for trial, run in sorted(runs.trials.items())},
    }
    write_text_atomic(path, json.dumps(body, indent=1))


def tracking_uri_of(study: StudyLayout, explicit: str | None) -> str | None:
    """Return the explicit URI, else the one a study's runs are on already; None where it has none that is left.

    Raises:
        TrackingError: that URI had a password, which is stored nowhere.
    """
    runs = load_runs(study.runs)
    if explicit or runs is None:
        return explicit
    known = runs.tracking_uri
    if MASK not in known:
        database = Path(known.removeprefix(SQLITE).partition("?")[0])
        return None if known.startswith(SQLITE) and not database.exists() else known
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given is None or mask_uri(given) != known:
        raise TrackingError(f"The study's runs are at {known} and its password is stored nowhere; give --tracking-uri")
    return given

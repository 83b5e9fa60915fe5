"""The MLflow run ids of a study's trials on each server, kept in the study's folder (runs.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.errors import TrackingError
from study.paths import StudyLayout, write_text_atomic
from tracking.tracking_uri import MASK, SQLITE, mask_uri


@dataclass(frozen=True)
class Runs:
    """The run ids of one study on one server; the URI has no secrets in it."""

    tracking_uri: str
    experiment_id: str | None = None
    parent: str | None = None
    trials: Mapping[int, str] = field(default_factory=dict)


def load_runs(path: Path) -> Runs | None:
    """Return the run ids on the server the study was sent to last, None when there are none."""
    return next(iter(_load_all(path)), None)


def load_runs_at(path: Path, tracking_uri: str) -> Runs:
    """Return the run ids on one of the servers the study was sent to; none for another server."""
    return next((runs for runs in _load_all(path) if runs.tracking_uri == tracking_uri), Runs(tracking_uri))


def save_runs(path: Path, runs: Runs) -> None:
    """Write the run ids atomically; those on other servers are kept after them."""
    others = [_body(other) for other in _load_all(path) if other.tracking_uri != runs.tracking_uri and other.parent]
    body = {**_body(runs), "elsewhere": others} if others else _body(runs)
    write_text_atomic(path, json.dumps(body, indent=1))


def point_to(path: Path, tracking_uri: str) -> None:
    """Make a server (its URI without secrets) the one the study belongs to, even before anything was sent to it.

    Raises:
        TrackingError: the disk refuses.
    """
    current = load_runs(path)
    if current is None or current.tracking_uri != tracking_uri:
        try:
            save_runs(path, load_runs_at(path, tracking_uri))
        except OSError as exc:
            raise TrackingError(f"{path} must be writable, but: {exc.strerror or exc}") from exc


def _load_all(path: Path) -> list[Runs]:
    """Return the run ids on each server, the last used first."""
    try:
        body = json.loads(path.read_text())
        return [_parse(body), *map(_parse, body.get("elsewhere", []))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _parse(body: dict[str, Any]) -> Runs:
    trials = {int(trial): run for trial, run in body["trials"].items()}
    return Runs(body["tracking_uri"], body["experiment_id"], body["parent"], trials)


def _body(runs: Runs) -> dict[str, object]:
    return {
        "tracking_uri": runs.tracking_uri,
        "experiment_id": runs.experiment_id,
        "parent": runs.parent,
        "trials": {str(trial): run for trial, run in sorted(runs.trials.items())},
    }


def tracking_uri_of(study: StudyLayout, explicit: str | None) -> str | None:
    """Return the explicit URI, else that of the server the study's runs are on; None where there is none or it is gone.

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

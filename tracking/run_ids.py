"""Remember which MLflow run belongs to which trial, so that others can join them without MLflow."""

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
    """Run ids of one study on one server; the URI has no secrets in it."""

    tracking_uri: str
    experiment_id: str | None = None
    parent: str | None = None
    trials: Mapping[int, str] = field(default_factory=dict)


def load_runs(path: Path) -> Runs | None:
    """Return the run ids on the server the study was sent to last, None when there are none."""
    return next(iter(_load_all(path)), None)


def load_runs_at(path: Path, tracking_uri: str) -> Runs:
    """Return the run ids on one of the servers the study was sent to; none for another server."""
    return next((one for one in _load_all(path) if one.tracking_uri == tracking_uri), Runs(tracking_uri))


def save_runs(path: Path, runs: Runs) -> None:
    """Write the run ids, whole or not at all; those on other servers stay behind them."""
    others = [_body(one) for one in _load_all(path) if one.tracking_uri != runs.tracking_uri and one.parent]
    body = {**_body(runs), "elsewhere": others} if others else _body(runs)
    write_text_atomic(path, json.dumps(body, indent=1))


def point_to(path: Path, tracking_uri: str) -> None:
    """Let the study belong to a server (its URI without secrets) from now on, also before anything was sent to it.

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
        found = json.loads(path.read_text())
        return [_parse(found), *map(_parse, found.get("elsewhere", []))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _parse(found: dict[str, Any]) -> Runs:
    trials = {int(trial): run for trial, run in found["trials"].items()}
    return Runs(found["tracking_uri"], found["experiment_id"], found["parent"], trials)


def _body(runs: Runs) -> dict[str, object]:
    return {
        "tracking_uri": runs.tracking_uri,
        "experiment_id": runs.experiment_id,
        "parent": runs.parent,
        "trials": {str(trial): run for trial, run in sorted(runs.trials.items())},
    }


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

"""Write values to standard output for machines, and in words for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Results = Annotated[
    Path, typer.Option("--results", help="Folder of all studies.", envvar="STUDY_RESULTS", metavar="DIR")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", help="MLflow server or database; default: MLFLOW_TRACKING_URI, else RESULTS/mlflow.db."
    ),
]
RequireTracking = Annotated[
    bool,
    typer.Option(
        "--require-tracking", help="Do not begin while MLflow cannot be reached; else `study sync` sends later."
    ),
]
ReadUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="Read an MLflow server or database instead of the results folder."),
]
Address = Annotated[str | None, typer.Option("--address", help="A running Ray cluster; default: start one here.")]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Where checkpoints go: a path all workers see, or a URI such as s3://bucket/folder.",
        metavar="PATH_OR_URI",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Metric = Annotated[str | None, typer.Option("--metric", help="Rank by this metric; default: the study's objective.")]
Name = Annotated[str | None, typer.Argument(help="Name of the study; default: the newest.", metavar="[NAME]")]
StudyFile = Annotated[Path, typer.Argument(help="A study file, see search_spaces/README.md.", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one field, as in --set trial.max_epochs=1.", metavar="KEY=VALUE"),
]

LookAgain = Annotated[
    bool,
    typer.Option("--look-again", help="Score the test images although another checkpoint was scored on them before."),
]

RESULTS = Path("results")


STATE_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAILED": "red", "RUNNING": "cyan", "WAITING": "dim"}


def print_json(value: object) -> None:
    """Print strict JSON; a number JSON has no form for becomes null.

    Whoever reads a pipe has it at once, although the command may go on.
    """
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def number(value: object, digits: int = 4) -> str:
    """Write a value for people: short floats, words as they are, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Write a time span for people."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def short_path(path: str | None) -> str:
    """Write a path as short as it can be from here."""
    if path is None:
        return "-"
    here = Path.cwd()
    inside = Path(path).is_relative_to(here) and here != Path(here.anchor)
    return str(Path(path).relative_to(here)) if inside else path


def moment(at_s: float | None) -> str:
    """Write a moment in local time."""
    return "-" if at_s is None else datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value

"""The options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

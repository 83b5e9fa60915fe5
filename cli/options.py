"""Options and arguments of the commands, and SharedRunOptions, which commands that run a study share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from study.analysis.recommendation import Cost
from study.files import expand_home
from tracking.tracking_uri import expand_database

RESULTS = Path("results")
"""The results folder when no other is named."""

folder_option = functools.partial(typer.Option, metavar="DIR", parser=expand_home)
folder_argument = functools.partial(typer.Argument, metavar="DIR", parser=expand_home)
"""Options and arguments that are paths, in which ~ is the home."""

Results = Annotated[
    Path,
    typer.Option("--results", help="Folder of all studies.", envvar="STUDY_RESULTS", metavar="DIR", parser=expand_home),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", help="MLflow server or database; default: MLFLOW_TRACKING_URI, else RESULTS/mlflow.db."
    ),
]
ReadUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="Read an MLflow server or database instead of the results folder.",
        parser=expand_database,
        metavar="TEXT",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Metric = Annotated[str | None, typer.Option("--metric", help="Rank by this metric; default: the study's objective.")]
Name = Annotated[str | None, typer.Argument(help="Name of the study; default: the newest.", metavar="[NAME]")]
Run = Annotated[str, typer.Argument(help="STUDY/TRIAL such as ablation/3, or an MLflow run id.", metavar="RUN")]
LookAgain = Annotated[
    bool,
    typer.Option("--look-again", help="Score the test images although another checkpoint was scored on them before."),
]

Recommended = Annotated[
    bool,
    typer.Option("--recommended", help="Take the recommended checkpoint, which may be a cheaper one than the best."),
]
Prefer = Annotated[
    Cost,
    typer.Option("--prefer", metavar="COST", help="What makes a checkpoint cheap first: parameters, latency, shifted."),
]
GiveAway = Annotated[
    float,
    typer.Option("--give-away", min=0, metavar="D", help="How much of the metric a cheaper one may lose at most."),
]

Matters = Annotated[
    float | None,
    typer.Option("--matters", metavar="D", min=0, max=1e9, help="Smaller differences do not matter: say which are so."),
]

StorageOf = Annotated[
    str | None,
    typer.Option("--storage", help="The study's storage; to be named once for a moved folder.", metavar="PATH_OR_URI"),
]

StudyFile = Annotated[
    Path, typer.Argument(help="A study file, see search_spaces/README.md.", metavar="FILE", parser=expand_home)
]
NewName = Annotated[str | None, typer.Option("--name", help="Another name for the study than the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Another number of trials.", metavar="N")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one field, as in --set trial.max_epochs=1.", metavar="KEY=VALUE"),
]

BundleFolder = Annotated[Path, folder_argument(help="A bundle that export-best wrote.", metavar="BUNDLE")]
ClassNames = Annotated[
    list[str] | None,
    typer.Option("--classes", help="Name the class of a folder; repeatable.", metavar="FOLDER=CLASS"),
]


def read_class_names(given: list[str] | None) -> dict[str, str]:
    """Return the class of each folder by its name.

    Raises:
        UsageError: one is not FOLDER=CLASS.
    """
    from study.errors import UsageError

    pairs = [text.partition("=") for text in given or ()]
    if wrong := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
        raise UsageError(f"--classes must be FOLDER=CLASS, such as improper=not_wearing_mask, got {', '.join(wrong)}")
    return {key: name for key, _, name in pairs}


@dataclass(frozen=True)
class SharedRunOptions:
    """The options that `run`, `resume`, `extend` and `confirm` share; each field is one option."""

    address: Annotated[
        str | None, typer.Option("--address", help="A running Ray cluster; default: start one here.")
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="Where checkpoints go: a path all workers see, or a URI such as s3://bucket/folder.",
            metavar="PATH_OR_URI",
        ),
    ] = None
    results: Results = RESULTS
    tracking_uri: TrackingUri = None
    require_tracking: Annotated[
        bool,
        typer.Option(
            "--require-tracking", help="Do not begin while MLflow cannot be reached; else `study sync` sends later."
        ),
    ] = False
    tracking_wait_s: Annotated[
        float,
        typer.Option(
            "--tracking-wait",
            min=0,
            help="How many seconds to wait at the end for an MLflow that does not answer; `study sync` sends the rest.",
            metavar="SECONDS",
        ),
    ] = 10.0
    json: Json = False


def takes_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of SharedRunOptions, in place of its last parameter ``options``."""
    hints = get_type_hints(SharedRunOptions, include_extras=True)
    names = [field.name for field in fields(SharedRunOptions)]

    @functools.wraps(command)
    def wrapper(**arguments: object) -> None:
        shared = {name: arguments.pop(name) for name in names}
        command(**arguments, options=SharedRunOptions(**shared))  # type: ignore[arg-type]

    *own, _ = inspect.signature(command, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
              for field in fields(SharedRunOptions)]  # fmt: skip
    wrapper.__signature__ = inspect.Signature([*(each.replace(kind=keyword) for each in own), *shared])  # type: ignore[attr-defined]
    return wrapper

"""Commands that take a study file: run, validate."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import RESULTS, Address, Json, Overrides, RequireTracking, Results, Storage, StudyFile, TrackingUri
from cli.output import print_json

if TYPE_CHECKING:
    from cli.watching import Where
    from study.engine.surroundings import Surroundings
    from study.events import StudyEnded
    from study.layout import StudyLayout
    from study.spec import StudySpec

NewName = Annotated[str | None, typer.Option("--name", help="Another name for the study than the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Another number of trials.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("run")(run)
    app.command("validate")(validate)


def run(
    file: StudyFile,
    name: NewName = None,
    trials: Trials = None,
    overrides: Overrides = None,
    address: Address = None,
    storage: Storage = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    json: Json = False,
) -> None:
    """Run a study file: trials in parallel, every run in MLflow; a file that only grew extends its study."""
    from cli.continuing import extension_of
    from cli.watching import Where, watch
    from study.errors import DataError, WeightsError
    from study.layout import Layout
    from study.spec_file import load_spec

    loaded = load_spec(file, overrides or (), name=name, trials=trials)
    spec = _anchored(loaded.spec)
    layout = Layout(results).study(spec.name)
    if layout.ledger.exists():
        _go_on(
            extension_of(layout, spec), layout, Where(results, address, storage, tracking_uri, json, require_tracking)
        )
        return
    fresh = not layout.root.exists()

    def start(around: Surroundings) -> StudyEnded:
        from study.engine.runner import start_study

        return start_study(spec, loaded.text, layout, around)

    try:
        watch(spec, layout, start, Where(results, address, storage, tracking_uri, json, require_tracking))
    except (DataError, WeightsError, KeyboardInterrupt) as stop:
        if fresh:  # after any other fault the log is worth keeping
            _remove_if_nothing_began(layout)
        if isinstance(stop, KeyboardInterrupt) and not layout.ledger.exists():
            typer.echo("stopped before anything began", err=True)
        raise


def _remove_if_nothing_began(layout: StudyLayout) -> None:
    """Remove a study's folder unless it has a ledger or is another driver's, which may just have begun."""
    from study.errors import LedgerError
    from study.ledger import driver_lock

    with suppress(LedgerError), driver_lock(layout):
        if not layout.ledger.exists():
            shutil.rmtree(layout.root, ignore_errors=True)


def _go_on(wanted: StudySpec, layout: StudyLayout, where: Where) -> None:
    """Go on with an existing study whose file only adds to it."""
    from cli.watching import watch
    from study.changes import changes
    from study.ledger import Ledger
    from tracking.runs import tracking_uri_of

    def start(around: Surroundings) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(layout, around, extended=wanted)

    found = changes(Ledger.open(layout).spec, wanted)
    typer.echo(f"{wanted.name} exists and is extended: {'; '.join(map(str, found))}", err=where.json)
    watch(wanted, layout, start, replace(where, tracking_uri=tracking_uri_of(layout, where.tracking_uri)))


def validate(
    file: StudyFile, name: NewName = None, trials: Trials = None, overrides: Overrides = None, json: Json = False
) -> None:
    """Check a study file; print every fault with its place."""
    from study.design import trials_in_words
    from study.errors import SpecError
    from study.spec_file import load_spec

    try:
        spec = load_spec(file, overrides or (), name=name, trials=trials).spec
    except SpecError as error:
        if json:
            print_json({"valid": False, "faults": [asdict(fault) for fault in error.faults]})
        raise
    if json:
        print_json({"valid": True, "spec": spec.model_dump(mode="json")})
        return
    over = f" over {', '.join(spec.searched())}" if spec.searched() else ""
    epochs = spec.trial.max_epochs
    typer.echo(f"{file}: valid; {trials_in_words(spec)} of up to {epochs} epoch{'s' * (epochs > 1)}{over}")


def _anchored(spec: StudySpec) -> StudySpec:
    """Make the data's paths absolute, so that a resume from another folder finds them."""
    path = None if spec.data.path is None else _absolute(spec.data.path)
    shifted = {name: _absolute(one) for name, one in spec.data.shifted.items()}
    return spec.model_copy(update={"data": spec.data.model_copy(update={"path": path, "shifted": shifted})})


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())

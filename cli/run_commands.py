"""Commands that run trials: run, resume, validate."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import RESULTS, Address, Json, Overrides, Results, StudyFile, TrackingUri
from cli.output import print_json

if TYPE_CHECKING:
    from study.data.bundle import DataBundle
    from study.engine.surroundings import Surroundings
    from study.events import Recorder, StudyEnded
    from study.layout import StudyLayout
    from study.spec import StudySpec

EXIT_INTERRUPTED = 130
NewName = Annotated[str | None, typer.Option("--name", help="Another name for the study than the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Another number of trials.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("run")(run)
    app.command("resume")(resume)
    app.command("validate")(validate)


def run(
    file: StudyFile,
    name: NewName = None,
    trials: Trials = None,
    overrides: Overrides = None,
    address: Address = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Run a study file: trials in parallel, every run in MLflow."""
    from study.errors import DataError, WeightsError
    from study.layout import Layout
    from study.ledger import refuse_existing
    from study.spec_file import load_spec

    loaded = load_spec(file, overrides or (), name=name, trials=trials)
    spec = _anchored(loaded.spec)
    layout = Layout(results).study(spec.name)
    refuse_existing(layout, spec.name)
    fresh = not layout.root.exists()

    def start(around: Surroundings) -> StudyEnded:
        from study.engine.runner import start_study

        return start_study(spec, loaded.text, layout, around)

    try:
        _watch(spec, layout, start, results, address, tracking_uri, json)
    except (DataError, WeightsError, KeyboardInterrupt) as stop:
        if fresh and not layout.ledger.exists():  # nothing began; after any other fault the log is worth keeping
            shutil.rmtree(layout.root, ignore_errors=True)
        if isinstance(stop, KeyboardInterrupt) and not layout.ledger.exists():
            typer.echo("stopped before anything began", err=True)
        raise


def resume(
    name: Annotated[
        str | None, typer.Argument(help="Name of the study; default: the newest.", metavar="[NAME]")
    ] = None,
    address: Address = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Go on with an interrupted study; no trial is lost or run twice."""
    from cli.reading import open_study
    from tracking.runs import tracking_uri_of

    study = open_study(results, name)
    tracking_uri = tracking_uri_of(study.layout, tracking_uri)

    def start(around: Surroundings) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(study.layout, around)

    if study.state == "finished":
        if json:
            print_json({"study": study.name, "outcome": study.state, "log": str(study.layout.log)})
        else:
            typer.echo(f"{study.name} is finished already; `study compare {_quoted(study.name)}` ranks its trials")
        return
    _watch(study.ledger.spec, study.layout, start, results, address, tracking_uri, json)


def validate(
    file: StudyFile, name: NewName = None, trials: Trials = None, overrides: Overrides = None, json: Json = False
) -> None:
    """Check a study file; print every fault with its place."""
    from study.design import planned_trials
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
    planned, epochs = planned_trials(spec), spec.trial.max_epochs
    typer.echo(f"{file}: valid; {planned} trial{'s' * (planned > 1)} of up to {epochs} epoch{'s' * (epochs > 1)}{over}")


def _anchored(spec: StudySpec) -> StudySpec:
    """Make the data's paths absolute, so that a resume from another folder finds them."""
    path = None if spec.data.path is None else _absolute(spec.data.path)
    shifted = {name: _absolute(one) for name, one in spec.data.shifted.items()}
    return spec.model_copy(update={"data": spec.data.model_copy(update={"path": path, "shifted": shifted})})


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _watch(
    spec: StudySpec,
    layout: StudyLayout,
    start: Callable[[Surroundings], StudyEnded],
    results: Path,
    address: str | None,
    tracking_uri: str | None,
    json: bool,
) -> None:
    """Run with a live view on the real screen and everybody else's output in the study's log."""
    from cli.live import open_view
    from cli.reading import checkpoints_by_run
    from cli.recorders import Tee, WarningLines, illustrated
    from study.engine.quiet import quiet
    from study.engine.surroundings import Surroundings
    from study.errors import EngineError
    from study.layout import Layout
    from study.records import StudyOutcome
    from tracking.recorder import open_recorder

    with quiet(layout.log) as screen, open_view(spec, layout, screen.err if json else screen.out) as view:

        def recorder(data: DataBundle) -> Recorder:
            tracker = open_recorder(Layout(results), layout, tracking_uri)
            return Tee([illustrated(tracker, layout, data.classes, data.val.images, data.val.names), view])

        handler = WarningLines(view.say)
        logging.getLogger("tracking").addHandler(handler)
        try:
            ended = start(Surroundings(recorder, view.progress(), lambda: checkpoints_by_run(results), address))
        finally:
            logging.getLogger("tracking").removeHandler(handler)
    if ended.outcome is StudyOutcome.INTERRUPTED:
        typer.echo(f"stopped; go on with: study resume {_quoted(spec.name)}{_results_option(results)}", err=json)
    elif not json and ended.best is not None:
        name, option = _quoted(spec.name), _results_option(results)
        typer.echo(f"next: study best {name}{option}   study compare {name}{option}   study ui{option}")
    if json:
        print_json(
            {"study": ended.study, "outcome": ended.outcome.value, "counts": ended.counts, "log": str(layout.log)}
        )
    if ended.outcome is StudyOutcome.INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)
    if ended.best is None:
        raise EngineError(
            f"a study needs a trial that ends with a checkpoint, but all failed; `study show {_quoted(spec.name)}"
            f"{_results_option(results)}` says why"
        )


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name)


def _results_option(results: Path) -> str:
    return "" if results == RESULTS else f" --results {_quoted(str(results))}"

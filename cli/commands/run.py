"""Commands that run a study in this terminal, or stop one in another: run, resume, stop."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    RESULTS,
    Json,
    Name,
    NewName,
    Overrides,
    Results,
    SharedRunOptions,
    StudyFile,
    Trials,
    takes_run_options,
)
from cli.output import print_json
from study.errors import StudyStorageError
from study.files import expand_home

if TYPE_CHECKING:
    from study.config.study_config import StudySpec
    from study.paths import StudyLayout

STOP_POLL_S = 0.2


@takes_run_options
def run(
    file: StudyFile,
    name: NewName = None,
    trials: Trials = None,
    overrides: Overrides = None,
    *,
    options: SharedRunOptions,
) -> None:
    """Run a study file: trials in parallel, every run in MLflow; a file that only grew extends its study."""
    from cli.commands.extend import extension_of
    from cli.run_session import resume_with_live_view
    from study.config_file import load_spec
    from study.designs.changes import changes
    from study.paths import Layout
    from study.storage.study_storage import StudyStorage

    loaded = load_spec(file, overrides or (), name=name, trials=trials)
    spec = with_absolute_paths(loaded.spec)
    layout = Layout(options.results).study(spec.name)
    if layout.journal.exists():
        extended = extension_of(layout, spec)
        differences = "; ".join(map(str, changes(StudyStorage.open(layout).spec, extended)))
        typer.echo(f"{spec.name} exists and is extended: {differences}", err=options.json)
        resume_with_live_view(layout, extended, options, extended=True)
        return
    start_new(layout, spec, loaded.text, options)


def start_new(layout: StudyLayout, spec: StudySpec, text: str, options: SharedRunOptions) -> None:
    """Run a new study; ``text`` is that of its file. Nothing is left of one that could not begin."""
    from cli.run_session import start_with_live_view
    from study.errors import DataError, WeightsError

    is_new = not layout.root.exists()
    try:
        start_with_live_view(layout, spec, text, options)
    except (DataError, WeightsError, KeyboardInterrupt) as error:
        if is_new:  # after any other fault the log is worth keeping
            remove_if_nothing_began(layout)
        if isinstance(error, KeyboardInterrupt) and not layout.journal.exists():
            typer.echo("stopped before anything began", err=True)
        raise


def remove_if_nothing_began(layout: StudyLayout) -> None:
    """Remove a study's folder unless it has a journal or belongs to another driver, which may have just begun."""
    from study.storage.lock import driver_lock

    with suppress(StudyStorageError), driver_lock(layout):
        if not layout.journal.exists():
            shutil.rmtree(layout.root, ignore_errors=True)


def with_absolute_paths(spec: StudySpec) -> StudySpec:
    """Return the study with absolute paths of its data, so that it can be resumed in another folder."""
    path = None if spec.data.path is None else _absolute(spec.data.path)
    shifted = {name: _absolute(folder) for name, folder in spec.data.shifted.items()}
    return spec.model_copy(update={"data": spec.data.model_copy(update={"path": path, "shifted": shifted})})


def _absolute(path: str) -> str:
    return str(expand_home(path).absolute())


@takes_run_options
def resume(name: Name = None, *, options: SharedRunOptions) -> None:
    """Go on with a study that was interrupted or stopped; no trial is lost or run twice."""
    from cli.queries.study_handle import open_study
    from cli.run_session import resume_with_live_view

    study = open_study(options.results, name)
    if study.state != "finished":
        resume_with_live_view(study.layout, study.view.spec, options)
    elif options.json:
        print_json({"study": study.name, "outcome": study.state, "log": str(study.layout.log)})
    else:
        reason = f" ({study.view.end_reason.value})" if study.view.end_reason else ""
        typer.echo(
            f"{study.name} is finished already{reason}; `{study.layout.command('compare')}` ranks its trials, "
            f"`{study.layout.command('extend')}` gives it more"
        )


def stop(
    name: Name = None,
    now: Annotated[
        bool, typer.Option("--now", help="Leave trials where they are, for `study resume` to go on with them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the study has stopped.")] = True,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Stop a study that runs in another terminal: its trials end at their next epoch."""
    from cli.queries.study_handle import open_study
    from study.engine.stopping import StopRequest, request_stop, stop_requested
    from study.storage.lock import is_driven

    study = open_study(results, name)
    if not is_driven(study.layout):
        raise StudyStorageError(f"only a running study can be stopped, but `{study.name}` is {study.state}")
    request = StopRequest.NOW if now else StopRequest.SOON
    request_stop(study.layout, request)
    if not json:
        how = "at once" if now else "when the trials in flight have ended their epoch"
        typer.echo(f"{study.name} stops {how}")
    while wait and is_driven(study.layout):
        if stop_requested(study.layout) is None:  # a driver that has just begun removed it
            request_stop(study.layout, request)
        time.sleep(STOP_POLL_S)
    state = "stopped" if wait else "stopping"
    if json:
        print_json({"study": study.name, "state": state})
    elif wait:
        typer.echo(f"{study.name} has stopped; `{study.layout.command('resume')}` goes on with what is left")

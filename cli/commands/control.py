"""Commands that steer a study that exists: resume, extend, stop."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import RESULTS, Address, Json, Name, RequireTracking, Results, Storage, TrackingUri, print_json
from study.errors import StudyStorageError
from study.paths import StudyLayout

if TYPE_CHECKING:
    from study.engine.run_context import RunContext
    from study.events import StudyEnded


ASK_EVERY_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("resume")(resume)
    app.command("extend")(extend)
    app.command("stop")(stop)


def resume(
    name: Name = None,
    address: Address = None,
    storage: Storage = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    json: Json = False,
) -> None:
    """Go on with a study that was interrupted or stopped; no trial is lost or run twice."""
    from cli.run_session import StudyLocation, quoted, run_with_live_view
    from cli.studies import open_study
    from tracking.run_ids import tracking_uri_of

    study = open_study(results, name)
    tracking_uri = tracking_uri_of(study.layout, tracking_uri)

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(study.layout, context)

    if study.state == "finished":
        reason = study.storage.end_reason
        if json:
            print_json({"study": study.name, "outcome": study.state, "log": str(study.layout.log)})
        else:
            why = f" ({reason.value})" if reason else ""
            known = quoted(study.name)
            typer.echo(
                f"{study.name} is finished already{why}; `study compare {known}` ranks its trials, "
                f"`study extend {known}` gives it more"
            )
        return
    run_with_live_view(
        study.storage.spec,
        study.layout,
        start,
        StudyLocation(results, address, storage, tracking_uri, json, require_tracking),
    )


def extend(
    name: Name = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="So many more trials.", metavar="N")] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", min=1, help="So many more seeds for every point.", metavar="N")
    ] = None,
    wall_clock: Annotated[
        str | None, typer.Option("--wall-clock", help="So much more time, as in '1 h 30 min'.", metavar="TIME")
    ] = None,
    accelerator_hours: Annotated[
        float | None, typer.Option("--accelerator-hours", help="So many more hours of GPUs.", metavar="H")
    ] = None,
    failures: Annotated[
        int | None, typer.Option("--failures", min=1, help="So many more failed trials.", metavar="N")
    ] = None,
    no_target: Annotated[bool, typer.Option("--no-target", help="Go on although the target is met.")] = False,
    address: Address = None,
    storage: Storage = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    json: Json = False,
) -> None:
    """Give a study more trials, seeds or budget, and go on with it; the sampler knows all that was run."""
    from cli.commands.run import Additions, extend_study, require_effect
    from cli.run_session import StudyLocation, run_with_live_view
    from cli.studies import open_study
    from study.config.diff import changes
    from study.errors import UsageError
    from tracking.run_ids import tracking_uri_of

    study = open_study(results, name)
    more = Additions(trials, replicates, wall_clock, accelerator_hours, failures, no_target)
    wanted = extend_study(study.storage.spec, more)
    found = changes(study.storage.spec, wanted)
    if not found:
        raise UsageError("extend needs something to add, as in --trials 20; see `study extend --help`")
    require_effect(study.storage, wanted)
    tracking_uri = tracking_uri_of(study.layout, tracking_uri)

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(study.layout, context, extended=wanted)

    typer.echo(f"{study.name} is extended: {'; '.join(map(str, found))}", err=json)
    run_with_live_view(
        wanted, study.layout, start, StudyLocation(results, address, storage, tracking_uri, json, require_tracking)
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
    from cli.studies import open_study
    from study.engine.stopping import StopRequest, request_stop, stop_requested
    from study.errors import StudyStorageError
    from study.storage.lock import is_driven

    study = open_study(results, name)
    if not is_driven(study.layout):
        raise StudyStorageError(f"only a running study can be stopped, but `{study.name}` is {study.state}")
    wish = StopRequest.NOW if now else StopRequest.SOON
    request_stop(study.layout, wish)
    if not json:
        how = "at once" if now else "when the trials in flight have ended their epoch"
        typer.echo(f"{study.name} stops {how}")
    while wait and is_driven(study.layout):
        if stop_requested(study.layout) is None:  # a driver that just began forgot it
            request_stop(study.layout, wish)
        time.sleep(ASK_EVERY_S)
    state = "stopped" if wait else "stopping"
    if json:
        print_json({"study": study.name, "state": state})
    elif wait:
        typer.echo(f"{study.name} has stopped; `study resume` goes on with what is left")


def end_if_left_open(study: StudyLayout) -> bool:
    """Record that a study was interrupted if it was and nobody drives it; `study resume` then goes on as ever.

    Returns:
        Whether that was so. Where the study cannot be read or written nothing is recorded.

    Raises:
        TrackingError: the disk refuses the event.
    """
    from tracking.outbox.outbox import Outbox, read_lines
    from tracking.outbox.study_state import fold

    with suppress(StudyStorageError):
        from study.engine.stored_events import summarize_study
        from study.records import StudyOutcome
        from study.storage.lock import driver_lock
        from study.storage.study_storage import StudyStorage

        with driver_lock(study):
            told = fold(read_lines(study.outbox, reports=False))
            if told.study is None or told.outcome is not None:
                return False
            killed_at_s = study.outbox.stat().st_mtime
            event = summarize_study(StudyStorage.open(study), StudyOutcome.INTERRUPTED)
            outbox = Outbox(study.outbox)
            outbox.append(replace(event, at_s=killed_at_s))
            outbox.close()
            return True
    return False

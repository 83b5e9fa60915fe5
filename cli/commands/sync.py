"""The command that sends MLflow what it lacks of a study: sync."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated

import typer

from cli.options import RESULTS, Json, Name, Results, TrackingUri
from cli.output import print_json
from study.errors import StudyStorageError
from study.paths import StudyLayout


def sync(
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Send everything again, as to another server.")] = False,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Send MLflow what it has not acknowledged yet; another --tracking-uri moves the study to that server.

    No run of a study whose driver was killed stays RUNNING.
    """
    from cli.queries.study_handle import resolve_name
    from study.errors import TrackingError
    from study.paths import Layout
    from tracking.client.preflight import preflight
    from tracking.exporter.sync import sync as send
    from tracking.run_ids import tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri, mask_uri

    layout, name = Layout(results), resolve_name(results, name)
    study = layout.study(name)
    uri = default_tracking_uri(layout, tracking_uri_of(study, tracking_uri))
    if fault := preflight(layout, uri, name):
        raise TrackingError(
            f"MLflow at {mask_uri(uri)} cannot be used now: {fault}; the events keep, `{study.command('sync')}` sends "
            "them later"
        )
    was_left_open = end_if_left_open(study)
    report = send(layout, study, uri, everything=everything)
    if json:
        print_json({"study": name, "tracking_uri": report.tracking_uri, "sent": report.sent,
                    "was_left_open": was_left_open})  # fmt: skip
        return
    if was_left_open:
        typer.echo(f"{name}: its driver was killed, so its runs end there; `{study.command('resume')}` goes on")
    typer.echo(f"{name}: sent {report.sent} events to {report.tracking_uri}")


def end_if_left_open(study: StudyLayout) -> bool:
    """Record that a study was interrupted if its driver was killed; `study resume` goes on with it as before.

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
            state = fold(read_lines(study.outbox, reports=False))
            if state.study is None or state.outcome is not None:
                return False
            killed_at_s = study.outbox.stat().st_mtime
            event = summarize_study(StudyStorage.open(study), StudyOutcome.INTERRUPTED)
            outbox = Outbox(study.outbox)
            outbox.append(replace(event, at_s=killed_at_s))
            outbox.close()
            return True
    return False

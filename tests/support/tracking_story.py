"""A small study with one of everything, as an outbox and as MLflow should tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recorders import Script, write_checkpoint

from study.events import Event
from study.records import TrialState
from tracking.outbox.outbox import Outbox

if TYPE_CHECKING:
    from tracking_backends import Backend

STATUSES = {"faces": "FINISHED", "trial 0000": "FINISHED", "trial 0002": "FAILED"}


def write_story(backend: Backend, script: Script | None = None) -> list[Event]:
    """Put a whole study of two trials, one of which fails, into the outbox."""
    script, outbox = script or Script(planned=2), Outbox(backend.study().outbox)
    checkpoint = write_checkpoint(backend.study().trial(0))
    events: list[Event] = [script.start(), script.begin(0), script.begin(2), script.report(0, 1), script.report(0, 2)]
    kept = script.finish(0, checkpoint=checkpoint)
    events += [kept, script.finish(2, TrialState.FAILED), script.end(best=kept.record)]
    for event in events:
        outbox.append(event)
    outbox.close()
    return events

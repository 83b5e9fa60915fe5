"""Bring an MLflow server up to date with a study's outbox."""

from __future__ import annotations

from dataclasses import dataclass

from study.errors import TrackingError
from study.layout import Layout, StudyLayout
from tracking.drain import Drain
from tracking.uri import default_tracking_uri, mask_uri


@dataclass(frozen=True)
class SyncReport:
    """What a sync did; the URI has no secrets in it."""

    tracking_uri: str
    sent: int


def sync(
    layout: Layout, study: StudyLayout, tracking_uri: str | None = None, *, everything: bool = False
) -> SyncReport:
    """Send what the server has not acknowledged, or everything again, which changes nothing that is there.

    Raises:
        TrackingError: there is no outbox, the server is away, or another process is sending.
    """
    if not study.outbox.exists():
        raise TrackingError(f"A study to be synced must have an outbox, but {study.outbox} does not exist")
    uri = default_tracking_uri(layout, tracking_uri)
    drain = Drain(study, uri)
    try:
        if everything:
            drain.rewind()
        return SyncReport(mask_uri(uri), drain.run())
    finally:
        drain.close()

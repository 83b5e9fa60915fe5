"""Bring an MLflow server up to date with a study's outbox."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from study.errors import TrackingError
from study.paths import Layout, StudyLayout
from tracking.client.errors import DeniedError, RateLimitedError
from tracking.exporter.outbox_sender import BusyError, OutboxReader
from tracking.run_ids import point_to
from tracking.tracking_uri import default_tracking_uri, mask_uri

_log = logging.getLogger("tracking")
MAX_FAILURES = 8
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0
MIN_ANNOUNCED_WAIT_S = 2.0


@dataclass(frozen=True)
class SyncReport:
    """Result of a sync; the URI has no secrets in it."""

    tracking_uri: str
    sent: int


def sync(
    layout: Layout, study: StudyLayout, tracking_uri: str | None = None, *, everything: bool = False
) -> SyncReport:
    """Send what the server has not acknowledged, or everything again, which changes nothing that is there.

    Each server has its own position and run ids; the study then belongs to the one that was synced last.

    Raises:
        TrackingError: there is no outbox, the server is away, another process is sending, or the disk refuses.
    """
    if not study.outbox.exists():
        raise TrackingError(f"A study to be synced must have an outbox, but {study.outbox} does not exist")
    uri = default_tracking_uri(layout, tracking_uri)
    reader = OutboxReader(study, uri)
    try:
        if everything:
            reader.rewind()
        _send_with_retries(reader, mask_uri(uri))
        point_to(study.runs, mask_uri(uri))
        return SyncReport(mask_uri(uri), reader.sent)
    except OSError as exc:
        raise TrackingError(f"{study.root} must be writable, but: {exc}; mend this and sync again") from exc
    finally:
        reader.close()


def _send_with_retries(reader: OutboxReader, where: str) -> None:
    """Export, again after each failure, until ``MAX_FAILURES`` failed in a row without sending anything."""
    failures = 0
    while True:
        sent = reader.sent
        try:
            reader.run()
            return
        except (BusyError, DeniedError):
            raise
        except TrackingError as exc:
            failures = 1 if reader.sent > sent else failures + 1
            if failures > MAX_FAILURES:
                raise
            retry_after_s = exc.wait_s if isinstance(exc, RateLimitedError) else 0.0
            if retry_after_s >= MIN_ANNOUNCED_WAIT_S:
                _log.warning("%s asks for patience; going on in %.0f s", where, retry_after_s)
            time.sleep(max(retry_after_s, min(FIRST_PAUSE_S * 2 ** (failures - 1), LAST_PAUSE_S)))

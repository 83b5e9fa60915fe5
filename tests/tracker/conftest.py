"""Let the exporter rest for a tenth of its time, so that tests wait for the server and not for a pause."""

from __future__ import annotations

import pytest

from tracking.exporter import outbox_sender, sync


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (outbox_sender, "_FIRST_BACKOFF_S"),
        (outbox_sender, "_PAUSE_PER_SENDING"),
        (sync, "FIRST_PAUSE_S"),
        (sync, "LAST_PAUSE_S"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)

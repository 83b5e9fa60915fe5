"""A server that can be made to fail, and an exporter that rests for a tenth of its time: no test waits for a pause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_proxy import FaultProxy, between

from tracking.exporter import outbox_sender, sync
from tracking.ui.server import UiServer


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (outbox_sender, "_FIRST_BACKOFF_S"),
        (outbox_sender, "_PAUSE_PER_SENDING"),
        (sync, "FIRST_PAUSE_S"),
        (sync, "LAST_PAUSE_S"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)


@pytest.fixture
def proxy(server: UiServer) -> Iterator[FaultProxy]:
    """Stand before the server; faults are asked of it."""
    with between(server.address) as faulty:
        yield faulty

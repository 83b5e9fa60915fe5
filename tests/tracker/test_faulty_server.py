"""A server that refuses, delays, cuts and loses requests ends with the same content as one that was always there."""

from __future__ import annotations

from typing import Any

import pytest
from fault_proxy import FAULTS, FaultProxy, every, first, twice_each
from tracking_backends import Backend
from tracking_snapshot import snapshot
from tracking_story import STATUSES, write_story

from study.errors import TrackingError
from study.paths import Layout
from tracking.exporter import outbox_sender
from tracking.exporter.outbox_sender import OutboxReader
from tracking.exporter.sync import sync
from tracking.ui.server import UiServer

MOST_ATTEMPTS = 500


@pytest.fixture(scope="module")
def undisturbed(server: UiServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the server tells of the study when nothing goes wrong."""
    from tracking_backends import forget_everything

    backend = Backend("http", Layout(tmp_path_factory.mktemp("undisturbed")), server.address)
    write_story(backend)
    sync(backend.layout, backend.study(), server.address)
    content = snapshot(backend)
    forget_everything(server.address)
    assert {name: run["status"] for name, run in content.items() if name != "experiment"} == STATUSES
    assert "checkpoint/validation.npz" in content["trial 0000"]["artifacts"]
    return content


def _deliver(backend: Backend, proxy: FaultProxy) -> list[TrackingError]:
    """Send the outbox through the proxy, as often as it takes; return what went wrong."""
    drain, wrong = OutboxReader(backend.study(), proxy.address), []
    try:
        for _ in range(MOST_ATTEMPTS):
            try:
                drain.run()
            except TrackingError as exc:
                wrong.append(exc)
                continue
            return wrong
    finally:
        drain.close()
    raise AssertionError(f"not sent in {MOST_ATTEMPTS} attempts; the last: {wrong[-1]}")


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_every_request_may_fail_in_every_way(
    remote: Backend, proxy: FaultProxy, undisturbed: dict[str, Any], offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_sender, "_LARGEST_CHUNK_BYTES", 1)  # else each attempt begins at the first event again
    write_story(remote)
    proxy.script = twice_each(offset)
    wrong = _deliver(remote, proxy)
    assert proxy.faults > 60
    assert len(wrong) > 20, "what is tried again at once is not always enough"
    assert snapshot(remote) == undisturbed


@pytest.mark.parametrize("nth", [3, 5])
def test_every_nth_request_may_fail_for_ever(
    remote: Backend, proxy: FaultProxy, undisturbed: dict[str, Any], nth: int
) -> None:
    write_story(remote)
    proxy.delay_s, proxy.script = 0.0, every(nth, tuple(fault for fault in FAULTS if fault != "429"))
    _deliver(remote, proxy)
    assert proxy.faults > 5
    assert snapshot(remote) == undisturbed


def _made(proxy: FaultProxy, name: bytes) -> int:
    """Return how often the run was asked for; the second time the first one's request goes on to the server."""
    count = sum(request.path.endswith("runs/create") and name in request.body for request in proxy.requests)
    if count == 2:
        proxy.release()
    return count


@pytest.mark.parametrize("name", ["faces", "trial 0000"])
def test_a_run_made_after_its_maker_gave_up_is_marked_as_a_duplicate(
    remote: Backend, proxy: FaultProxy, undisturbed: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    write_story(remote)
    wanted = f'"{name}"'.encode()
    proxy.script = first("late", lambda request: request.path.endswith("runs/create") and wanted in request.body)
    drain = OutboxReader(remote.study(), proxy.address)
    while not proxy.faults:  # a slow machine may be too late for other requests too
        with pytest.raises(TrackingError, match="timeout"):
            drain.run()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    proxy.script = first("slow", lambda request: _made(proxy, wanted) >= 2 and request.path.endswith("runs/update"))
    proxy.delay_s = 1.0  # the late run is there before the study ends
    drain.run()
    drain.close()
    assert proxy.faults == 2
    assert snapshot(remote) == undisturbed
    client = remote.client()
    experiment = client.find_experiment(remote.name)
    assert experiment is not None
    runs = list(client.search([experiment.id], ""))
    (stray,) = [run for run in runs if run.tags["study.kind"] == "duplicate"]
    (used,) = [run for run in runs if run.name == name and run.id != stray.id]
    assert (stray.status, stray.tags["study.duplicate_of"]) == ("KILLED", used.id)

"""A tracking server that is away for many rounds of trying: nothing is lost, and whoever records does not wait."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from outage_kit import Absence, Server, endure
from tracking_backends import forget_everything

from tracking.exporter import outbox_sender as writer

ROUNDS = 3


class ImpatientlyAsked(Server):
    """A server whose clients wait a second for an answer while it is away, and long while it is there."""

    def leave(self, how: Absence) -> None:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
        super().leave(how)

    def come_back(self, how: Absence) -> None:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "300"
        super().come_back(how)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    """A server that other tests do not need."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
        running = ImpatientlyAsked(folder)
        yield running
        running.stop()


@pytest.fixture
def empty_server(own_server: Server) -> Iterator[Server]:
    yield own_server
    forget_everything(own_server.address)


@pytest.mark.parametrize("how", ["hanging", "gone"])
def test_a_server_that_is_away_loses_nothing_and_slows_nothing(
    tmp_path: Path,
    empty_server: Server,
    how: Absence,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "tracking")
    monkeypatch.setattr(writer, "_FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(writer, "_LAST_BACKOFF_S", 0.3)
    figures = endure(
        tmp_path / "results", empty_server, how, lambda recorder: recorder._exporter._failures >= ROUNDS, pause_s=0.2
    )
    assert figures["call_ms_without"]["median"] < 1000, "it waits for requests, which end after a second"
    assert caplog.text.count("is away") == caplog.text.count("is back") == 1

"""A tracking server that is away for many rounds of trying: nothing is lost, and whoever records does not wait."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from outage_kit import Absence, Server, endure

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


@pytest.fixture
def own_server(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that other tests do not need."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    running = ImpatientlyAsked(tmp_path)
    yield running
    running.stop()


@pytest.mark.parametrize("how", ["gone", "hanging"])
def test_a_server_that_is_away_loses_nothing_and_slows_nothing(
    tmp_path: Path, own_server: Server, how: Absence, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    monkeypatch.setattr(writer, "_FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(writer, "_LAST_BACKOFF_S", 0.3)
    figures = endure(
        tmp_path / "results", own_server, how, lambda recorder: recorder._exporter._failures >= ROUNDS, pause_s=0.2
    )
    assert figures["call_ms_without"]["median"] < 1000, "it waits for requests, which end after a second"
    assert caplog.text.count("is away") == caplog.text.count("is back") == 1

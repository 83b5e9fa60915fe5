"""What is sent at the same time, how much of it, and what becomes of an error in the middle."""

from __future__ import annotations

import _thread
import signal
import threading

import pytest
from recorders import Script
from tracking_backends import Backend

from study.engine.driver_process import preserve_handlers
from study.errors import TrackingError
from tracking.client.client import TrackingClient
from tracking.content.tags_and_metrics import Batch
from tracking.exporter.outbox_sender import OutboxReader
from tracking.exporter.run_writer import TrialRunWriter
from tracking.outbox.outbox import Outbox

TOGETHER_S = 300.0


class Gauge:
    """Counts how many are inside at once; each waits a while for as many as are expected."""

    def __init__(self, expected: int) -> None:
        self._meeting = threading.Barrier(expected)
        self._lock = threading.Lock()
        self._inside = self.most = 0

    def visit(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        if self.most <= self._meeting.parties:
            self._meeting.wait(TOGETHER_S)
        with self._lock:
            self._inside -= 1


def test_after_an_error_or_ctrl_c_no_other_trial_is_begun(remote: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(planned=40)
    outbox = Outbox(remote.study().outbox)
    for event in (script.start(), *(script.begin(trial) for trial in range(40))):
        outbox.append(event)
    outbox.close()
    begun: list[int] = []

    def fail(writer: TrialRunWriter, updates: object) -> None:
        begun.append(writer._trial)
        raise TrackingError(f"trial {writer._trial} cannot be sent")

    monkeypatch.setattr(TrialRunWriter, "write", fail)
    reader = OutboxReader(remote.study(), remote.client().api.tracking_uri)
    with pytest.raises(TrackingError, match="trial 0 cannot be sent"):
        reader.run()
    assert 0 in begun
    begun.clear()
    released = threading.Event()

    def interrupt(writer: TrialRunWriter, updates: object) -> None:
        begun.append(writer._trial)
        if len(begun) == 4:
            _thread.interrupt_main()
            threading.Timer(0.5, released.set).start()
        released.wait(TOGETHER_S)

    monkeypatch.setattr(TrialRunWriter, "write", interrupt)
    reader._chunk_bytes = 4 << 20
    with preserve_handlers():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            reader.run()
    reader.close()
    assert len(begun) < 40


def test_reports_of_several_trials_are_on_their_way_to_a_server_together(
    remote: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(planned=4)
    outbox = Outbox(remote.study().outbox)
    for event in (script.start(), *(script.begin(trial) for trial in range(4))):
        outbox.append(event)
    reader = OutboxReader(remote.study(), remote.client().api.tracking_uri)
    reader.run()
    for trial in range(4):
        outbox.append(script.report(trial, 1))
    outbox.close()
    gauge, send = Gauge(4), TrackingClient.log_batch

    def counted(client: TrackingClient, run_id: str, batch: Batch) -> None:
        gauge.visit()
        send(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "log_batch", counted)
    reader.run()
    reader.close()
    assert gauge.most == 4
    for trial in range(4):
        assert remote.history(remote.runs()[f"trial {trial:04d}"], "train_loss") == [(1, 1.0)]


def test_a_database_gets_one_batch_after_the_other(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge, send = Gauge(1), TrackingClient.log_batch

    def noted(client: TrackingClient, run_id: str, batch: Batch) -> None:
        gauge.visit()
        send(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "log_batch", noted)
    script = Script(planned=4)
    outbox = Outbox(database.study().outbox)
    for event in (script.start(), *(script.begin(trial) for trial in range(4))):
        outbox.append(event)
    outbox.close()
    reader = OutboxReader(database.study(), database.client().api.tracking_uri)
    reader.run()
    reader.close()
    assert gauge.most == 1

"""What is sent at the same time, how much of it, and what becomes of an error in the middle."""

from __future__ import annotations

import _thread
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from recorders import Script

from study.engine.process import preserve_handlers
from tracking.client import retry as quick_answers
from tracking.client.client import TrackingClient
from tracking.content.tags_and_metrics import Batch
from tracking.exporter.throttle import Throttle, run_concurrently
from tracking.exporter.worker import OutboxReader
from tracking.outbox.outbox import Outbox

if TYPE_CHECKING:
    from tracking_backends import Backend

pytest_plugins = ("tracking_backends",)
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
TOGETHER_S = 20.0


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


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_so_many_calls_are_made_at_once(at_once: int) -> None:
    gauge, called = Gauge(at_once), []
    run_concurrently(lambda one: (gauge.visit(), called.append(one)), range(8), lambda: at_once)
    assert gauge.most == at_once
    assert sorted(called) == list(range(8))


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_after_an_error_nothing_more_is_begun(at_once: int) -> None:
    began, failed = [], threading.Event()

    def call(number: int) -> None:
        began.append(number)
        if number == 0:
            failed.set()
            raise ValueError("the first")
        failed.wait()
        raise ValueError("another")

    with pytest.raises(ValueError, match="the first"):
        run_concurrently(call, range(100), lambda: at_once)
    assert len(began) < 100


def test_ctrl_c_does_not_wait_for_calls_that_have_not_begun() -> None:
    began, released = [], threading.Event()

    def call(number: int) -> None:
        began.append(number)
        if len(began) == 2:
            _thread.interrupt_main()
        released.wait(60)

    with preserve_handlers():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            run_concurrently(call, range(40), lambda: 2)
    assert len(began) == 2
    released.set()


def test_reports_of_several_trials_are_on_their_way_to_a_server_together(
    remote: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(planned=4)
    outbox = Outbox(remote.study().outbox)
    for event in (script.start(), *(script.begin(trial) for trial in range(4))):
        outbox.append(event)
    drain = OutboxReader(remote.study(), remote.client().api.tracking_uri)
    drain.run()
    for trial in range(4):
        outbox.append(script.report(trial, 1))
    outbox.close()
    gauge, send = Gauge(4), TrackingClient.send

    def counted(client: TrackingClient, run_id: str, batch: Batch) -> None:
        gauge.visit()
        send(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "send", counted)
    drain.run()
    drain.close()
    assert gauge.most == 4
    for trial in range(4):
        assert remote.history(remote.runs()[f"trial {trial:04d}"], "train_loss") == [(1, 1.0)]


def test_a_database_and_a_server_beside_trials_have_one_request_at_a_time() -> None:
    running, ended = threading.Event(), threading.Event()
    ended.set()
    counts = {
        where: [Throttle(where, one).at_once() for one in (running, ended, None)]
        for where in ("http://127.0.0.1:5000", "https://mlflow.example.org", "sqlite:////data/mlflow.db")
    }
    assert list(counts.values()) == [[1, 4, 4], [4, 4, 4], [1, 1, 1]]


def test_calls_one_by_one_go_on_side_by_side_as_soon_as_they_may() -> None:
    meeting, called, alone = threading.Barrier(3), [], []

    def call(number: int) -> None:
        if number < 2:
            alone.append(threading.current_thread() is threading.main_thread())
        else:
            meeting.wait(TOGETHER_S)
        called.append(number)

    run_concurrently(call, range(5), lambda: 1 if len(called) < 2 else 3)
    assert alone == [True, True]
    assert sorted(called) == list(range(5))


def test_a_database_gets_one_batch_after_the_other(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, send = set(), TrackingClient.send

    def noted(client: TrackingClient, run_id: str, batch: Batch) -> None:
        threads.add(threading.get_ident())
        send(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "send", noted)
    script = Script(planned=4)
    outbox = Outbox(database.study().outbox)
    for event in (script.start(), *(script.begin(trial) for trial in range(4))):
        outbox.append(event)
    outbox.close()
    drain = OutboxReader(database.study(), database.client().api.tracking_uri)
    drain.run()
    drain.close()
    assert threads == {threading.get_ident()}


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the kernel decides alone when it acknowledges")
def test_answers_of_a_server_are_acknowledged_at_once(remote: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[int, int, int]] = []

    class Kept:
        def __init__(self, connection: socket.socket) -> None:
            self.connection = connection

        def setsockopt(self, *option: int) -> None:
            options.append(option)  # type: ignore[arg-type]
            self.connection.setsockopt(*option)

    real = quick_answers.acknowledge_at_once
    monkeypatch.setattr(quick_answers, "acknowledge_at_once", lambda connection: real(Kept(connection)))
    remote.client().experiments()
    assert options
    assert set(options) == {(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)}


def test_a_connection_that_cannot_be_told_is_left_as_it_is() -> None:
    quick_answers.acknowledge_at_once(None)
    closed = socket.socket()
    closed.close()
    quick_answers.acknowledge_at_once(closed)

"""When a server beside trials is left in peace, and for how long."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest
from recorders import Script

from tracking.client.client import TrackingClient
from tracking.content.tags_and_metrics import Batch
from tracking.exporter.throttle import Throttle, machine_clock
from tracking.exporter.worker import OutboxReader
from tracking.outbox.outbox import Outbox

if TYPE_CHECKING:
    from tracking_backends import Backend

pytest_plugins = ("tracking_backends",)
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


class Nap(threading.Event):
    """Notes how long somebody would have waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout)
        return self.is_set()


@pytest.mark.parametrize(
    ("where", "idle", "waits_s"),
    [
        ("http://127.0.0.1:5000", 0.5, []),
        ("http://127.0.0.1:5000", 0.02, [0.019, 28.5, 30.0]),
        ("http://ann:***@localhost:5000", 0.02, [0.019, 28.5, 30.0]),
        ("https://mlflow.example.org", 0.02, []),
        ("sqlite:////data/mlflow.db", 0.02, []),
    ],
)
def test_a_server_beside_busy_trials_is_left_in_peace(where: str, idle: float, waits_s: list[float]) -> None:
    ticks = count(0, 100)

    def clock() -> tuple[float, float]:
        now = next(ticks)
        return (1 - idle) * now, idle * now

    ended, seconds = Nap(), count()
    manners = Throttle(where, ended, clock, lambda: float(next(seconds)))
    for spent_s in (0.001, 1.5, 60.0):
        manners.rest(spent_s)
    assert ended.waits_s == pytest.approx(waits_s)
    ended.set()
    manners.rest(60.0)
    assert len(ended.waits_s) == len(waits_s)
    assert [manners.linger_s(spent_s) for spent_s in (0.001, 1.5, 60.0)] == [0.2, 1.5, 2.0]


def test_the_machine_is_looked_at_no_more_often_than_its_clock_can_tell() -> None:
    ended, times_s = Nap(), iter([0.0, 0.3, 0.31, 0.4, 0.6])
    looks = iter([(0.0, 0.0), (60.0, 0.0), (60.0, 60.0)])
    manners = Throttle("http://127.0.0.1:5000", ended, lambda: next(looks), lambda: next(times_s))
    for _ in range(4):
        manners.rest(1.0)
    assert ended.waits_s == [19.0, 19.0, 19.0]


def test_a_machine_that_tells_nothing_is_not_busy() -> None:
    ended, seconds = Nap(), count()
    Throttle("http://127.0.0.1:5000", ended, lambda: (0.0, 0.0), lambda: float(next(seconds))).rest(1.5)
    assert not ended.waits_s
    busy, idle = machine_clock()
    assert busy > 0
    assert idle >= 0


def test_trials_beside_the_server_have_their_time_between_two_runs(
    remote: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    send = TrackingClient.send

    def noted(client: TrackingClient, run_id: str, batch: Batch) -> None:
        send(client, run_id, batch)
        sent.append("run")

    monkeypatch.setattr(TrackingClient, "send", noted)

    class Slow(Throttle):
        def rest(self, spent_s: float) -> None:
            assert spent_s > 0
            sent.append("rest")

    script = Script(planned=3)
    outbox = Outbox(remote.study().outbox)
    outbox.append(script.start())
    for trial in range(3):
        outbox.append(script.begin(trial))
    outbox.append(script.finish(0, epochs=1))
    outbox.close()
    drain = OutboxReader(remote.study(), remote.client().api.tracking_uri)
    drain.run(manners=Slow("http://127.0.0.1:5000", threading.Event()))
    drain.close()
    assert sent == ["run", "rest"] * 5  # of the study, of three trials, and what the study says of the one that ended

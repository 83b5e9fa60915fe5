"""Waiting for tasks of Ray: signals end it, and so does the loss of every node."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import pytest
import ray

from study.engine import waiting
from study.engine.waiting import wait_for_task
from study.errors import EngineError

pytestmark = pytest.mark.usefixtures("ray_cluster")


@ray.remote(num_cpus=1, max_retries=0)
def _work(fails: bool) -> int:
    if fails:
        raise ValueError("it failed")
    return 3


@ray.remote(num_cpus=1000)
def _unplaced() -> None:
    """No node is that large."""


def test_the_task_that_is_done_is_returned_however_it_ended() -> None:
    never, right, wrong = _unplaced.remote(), _work.remote(False), _work.remote(True)
    assert ray.get(wait_for_task([never, right])) == 3
    assert wait_for_task([never, wrong]) == wrong
    with pytest.raises(ValueError, match="it failed"):
        ray.get(wrong)
    ray.cancel(never)


class _Rung(BaseException):
    pass


def test_an_exception_of_a_signal_handler_ends_it() -> None:
    def ring(number: int, frame: FrameType | None) -> None:
        raise _Rung

    never = _unplaced.remote()
    before = signal.signal(signal.SIGUSR2, ring)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGUSR2))
    timer.start()
    began_s = time.monotonic()
    try:
        with pytest.raises(_Rung):
            wait_for_task([never])
    finally:
        signal.signal(signal.SIGUSR2, before)
        ray.cancel(never)
    assert time.monotonic() - began_s < 60


def test_it_ends_where_no_node_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    never = _unplaced.remote()
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}])
    monkeypatch.setattr(waiting, "NODES_EVERY_S", 0.0)
    with pytest.raises(EngineError, match=r"Ray must have a node .* run the same command again"):
        wait_for_task([never])
    ray.cancel(never)

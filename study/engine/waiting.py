"""Wait for tasks of Ray, as long as there is a node for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray

from study.errors import EngineError

POLL_EVERY_S = 0.02
NODES_EVERY_S = 5.0


def require_node(way_on: str) -> None:
    """Raise an error if no node is left: Ray often ends the driver then, but whoever waits for a task waits forever.

    Args:
        way_on: what to do about it.

    Raises:
        EngineError: no node is alive.
    """
    if not any(node["Alive"] for node in ray.nodes()):
        raise EngineError(
            "Ray must have a node to run trials on, but it lost the last one, as it does when one of its own "
            f"processes died or was killed; {way_on}"
        )


def wait_for_task(tasks: Sequence[ray.ObjectRef[Any]], *, poll_every_s: float = POLL_EVERY_S) -> ray.ObjectRef[Any]:
    """Return the first of the tasks that is done, however it ended.

    It sleeps between short looks: inside ``ray.wait``, Ray swallows what a signal handler raises, except
    KeyboardInterrupt and SystemExit.

    Raises:
        EngineError: no node is left that could run them.
    """
    saw_nodes_at_s = time.monotonic()
    while True:
        done, _ = ray.wait(list(tasks), timeout=0)
        if done:
            return done[0]
        if time.monotonic() - saw_nodes_at_s >= NODES_EVERY_S:
            require_node("run the same command again")
            saw_nodes_at_s = time.monotonic()
        time.sleep(poll_every_s)

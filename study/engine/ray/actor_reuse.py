"""Keep workers warm between trials, and let those that are being started start."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.tune import PlacementGroupFactory
from ray.tune.execution import tune_controller
from ray.tune.utils.object_cache import _ObjectCache

_WHOSE = "study_trial"
GRACE_S = 1.0
"""How long an idle worker waits for a new trial before one that has a worker on the way may take it."""


def mark_trial(resources: PlacementGroupFactory, trial: int) -> PlacementGroupFactory:
    """Return the resources that a trial is to have, which from now on know whose they are; two like them stay equal."""
    setattr(resources, _WHOSE, trial)
    return resources


def trial_of(resources: Any) -> int | None:
    """Return whose resources these are, None where they are not marked."""
    found: int | None = getattr(resources, _WHOSE, None)
    return found


class ReusableActorCache(_ObjectCache):
    """Tune's idle workers, by the resources they hold.

    Tune itself keeps one, so that of several trials that end between two of its steps all but one lose their worker.
    And it gives an idle worker to a trial whose own is still being started, which it then stops, to start another one
    for the next trial: where trials are short no worker but the first ever comes up. Starting one takes seconds. Here
    an idle worker goes to the trial that comes next, and only when none came for a while to one that waits.
    A trial that comes back gets the worker that had it: another would wait for its folder.
    """

    def __init__(self, count: int, may_keep_one: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(may_keep_one=may_keep_one)
        self._count = count
        self._now = now
        self._idle_since_s = 0.0
        self._newcomer: Any = None
        self._had: dict[Any, int | None] = {}

    def increase_max(self, key: Any, by: int = 1) -> None:
        """Hear of a new trial, which asks for a worker right after."""
        super().increase_max(key, by)
        self._newcomer = key

    def has_cached_object(self, key: Any) -> bool:
        """Whether there is a worker for the trial that asks."""
        is_new, self._newcomer = self._newcomer == key, None
        may_take = is_new or self._now() - self._idle_since_s >= GRACE_S
        return may_take and bool(super().has_cached_object(key))

    def pop_cached_object(self, key: Any) -> Any:
        """Give a worker away: the trial's own, else the one that is idle longest."""
        workers, trial = self._cached_objects[key], trial_of(key)
        if not workers:
            return None
        own = (at for at, one in enumerate(workers) if trial is not None and self._had[one] == trial)
        self._num_cached_objects -= 1
        return self._forget(workers.pop(next(own, 0)))

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep a worker, unless there are enough or its resources are wanted for another kind of worker."""
        self._idle_since_s = self._now()
        self._had[obj] = trial_of(key)
        if self._are_others_wanted(key) or self._num_cached_objects >= self._count:
            if not super().cache_object(key, obj):
                self._forget(obj)
                return False
            return True
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """Yield the workers to stop: all, or those whose resources are wanted for another kind of worker."""
        if force_all:
            yield from super().flush_cached_objects(force_all=True)
            return
        for key, workers in self._cached_objects.items():
            while self._are_others_wanted(key) and len(workers) > self._max_num_objects[key]:
                self._num_cached_objects -= 1
                yield self._forget(workers.pop(0))

    def _forget(self, worker: Any) -> Any:
        self._had.pop(worker, None)
        return worker

    def _are_others_wanted(self, key: Any) -> bool:
        return any(wanted > 0 for other, wanted in self._max_num_objects.items() if other != key)


@contextmanager
def patched_tune(count: int) -> Iterator[None]:
    """Let Tune keep so many workers in what is run inside."""
    module: Any = tune_controller
    tunes_own = module._ObjectCache
    module._ObjectCache = partial(ReusableActorCache, count)
    try:
        yield
    finally:
        module._ObjectCache = tunes_own

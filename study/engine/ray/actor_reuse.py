"""The two run-time patches of Ray Tune: keep as many idle workers as trials run at once, and use the prestarted ones.

Written for ray 2.60. Without them a study of many short trials takes 4 to 6 s longer, and every study starts the
seconds later that its workers need to import torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.tune import PlacementGroupFactory
from ray.tune.execution import class_cache, tune_controller
from ray.tune.utils.object_cache import _ObjectCache

_TRIAL = "study_trial"
GRACE_S = 1.0
"""How long an idle worker is reserved for a new trial before a trial whose worker is still starting may take it."""


def mark_trial(resources: PlacementGroupFactory, trial: int) -> PlacementGroupFactory:
    """Return a trial's resources with its number attached, which does not change whether two are equal."""
    setattr(resources, _TRIAL, trial)
    return resources


def trial_of(resources: Any) -> int | None:
    """Return the trial whose resources these are, None if they are not marked."""
    trial: int | None = getattr(resources, _TRIAL, None)
    return trial


class ReusableActorCache(_ObjectCache):
    """Tune's idle workers, by the resources they hold.

    Tune itself keeps one, so that of several trials that end between two of its steps all but one lose their worker.
    It also gives an idle worker to a trial whose own worker is still starting, which it then stops, only to start
    another for the next trial: with short trials no worker but the first is ever ready, and starting one takes
    seconds. Here an idle worker goes to the next new trial, and to a waiting one only if no new trial comes for
    ``GRACE_S``. A trial that is retried gets the worker that had it: another would wait for its folder.
    """

    def __init__(self, count: int, may_keep_one: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(may_keep_one=may_keep_one)
        self._count = count
        self._now = now
        self._idle_since_s = 0.0
        self._new_key: Any = None
        self._last_trial: dict[Any, int | None] = {}

    def increase_max(self, key: Any, by: int = 1) -> None:
        """Note a new trial, which asks for a worker right after."""
        super().increase_max(key, by)
        self._new_key = key

    def has_cached_object(self, key: Any) -> bool:
        """Return whether there is a worker for the trial that asks."""
        is_new, self._new_key = self._new_key == key, None
        may_take = is_new or self._now() - self._idle_since_s >= GRACE_S
        return may_take and bool(super().has_cached_object(key))

    def pop_cached_object(self, key: Any) -> Any:
        """Remove and return a worker: the trial's own, else the one that is idle longest."""
        workers, trial = self._cached_objects[key], trial_of(key)
        if not workers:
            return None
        own = (index for index, worker in enumerate(workers) if trial is not None and self._last_trial[worker] == trial)
        self._num_cached_objects -= 1
        return self._forget(workers.pop(next(own, 0)))

    def cache_object(self, key: Any, obj: Any) -> bool:
        """Keep a worker, unless there are enough or its resources are needed for another kind of worker."""
        self._idle_since_s = self._now()
        self._last_trial[obj] = trial_of(key)
        if self._are_others_needed(key) or self._num_cached_objects >= self._count:
            if not super().cache_object(key, obj):
                self._forget(obj)
                return False
            return True
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """Yield the workers to stop: all, or those whose resources are needed for another kind of worker."""
        if force_all:
            yield from super().flush_cached_objects(force_all=True)
            return
        for key, workers in self._cached_objects.items():
            while self._are_others_needed(key) and len(workers) > self._max_num_objects[key]:
                self._num_cached_objects -= 1
                yield self._forget(workers.pop(0))

    def _forget(self, worker: Any) -> Any:
        self._last_trial.pop(worker, None)
        return worker

    def _are_others_needed(self, key: Any) -> bool:
        return any(count > 0 for other, count in self._max_num_objects.items() if other != key)


@contextmanager
def patched_tune(count: int) -> Iterator[None]:
    """Let Tune keep ``count`` idle workers and use prestarted ones inside the block.

    Tune gives its actors an environment variable for Lightning; a worker that was prestarted without it is never used.
    """
    module: Any = tune_controller
    cache_of_tune, variables = module._ObjectCache, dict(class_cache.DEFAULT_ENV_VARS)
    module._ObjectCache = partial(ReusableActorCache, count)
    class_cache.DEFAULT_ENV_VARS.clear()
    try:
        yield
    finally:
        module._ObjectCache = cache_of_tune
        class_cache.DEFAULT_ENV_VARS.update(variables)

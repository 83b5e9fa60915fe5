"""Workers are started once: as many as run at once, however many and however short the trials are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from engine_fakes import Listener, check_whole, make_spec, make_storage, metrics, started
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution import class_cache, tune_controller
from ray.tune.utils.object_cache import _ObjectCache

from study.engine.ray.actor_reuse import GRACE_S, ReusableActorCache, mark_trial, patched_tune, trial_of
from study.engine.ray.cluster import RAY_ENVIRONMENT, WORKER_NICENESS, Slots
from study.engine.ray.tuner import run_trials
from study.engine.trial_controller import TrialController
from study.engine.trial_result import TrialResult
from study.records import StopReason, TrialState
from study.storage.lock import driver_lock

ANY, LARGE = "one core", "a whole GPU"


def cores(trial: int) -> tune.PlacementGroupFactory:
    return mark_trial(tune.PlacementGroupFactory([{"CPU": 1.0}]), trial)


class Slow(tune.Trainable):
    """A worker that takes longer to start than any trial takes."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)
        time.sleep(config["number"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return {"trial_result": TrialResult((metrics(1, 0.5),), str(self._folder / "epoch-0001"), StopReason.FINISHED)}

    def _begin(self, config: dict[str, Any]) -> None:
        self._folder = Path(config["directory"])


def test_no_more_workers_are_started_than_run_at_once(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, layout = make_storage(tmp_path / "study", make_spec(trials=24, pruner="none"))
    listener, asked = Listener(), []
    start = RayActorManager.add_actor
    monkeypatch.setattr(RayActorManager, "add_actor", lambda *args, **named: asked.append(1) or start(*args, **named))
    with driver_lock(layout):
        controller = TrialController(storage, layout, listener)
        controller.start_session(started(storage))
        run_trials(controller, layout, Slow, Slots(1, 0.0, 4))
        controller.raise_captured()
        controller.end_session()
    assert len(asked) == 4
    assert len(check_whole(layout, listener)) == 24


RAY_KNOWN = "2.60"
"""The version that the patches and internal settings were written for."""


def test_ray_still_has_what_is_patched_and_set() -> None:
    version = f"written for ray {RAY_KNOWN}, this is ray {ray.__version__}"
    cache = _ObjectCache(may_keep_one=True)
    fields = {"_cached_objects", "_max_num_objects", "_num_cached_objects"}
    methods = {"increase_max", "has_cached_object", "pop_cached_object", "cache_object", "flush_cached_objects"}
    assert fields <= vars(cache).keys(), f"fields of Tune's actor cache; {version}"
    assert methods <= vars(_ObjectCache).keys(), f"methods of Tune's actor cache; {version}"
    assert tune_controller._ObjectCache is _ObjectCache, f"where Tune takes its actor cache from; {version}"
    assert isinstance(class_cache.DEFAULT_ENV_VARS, dict), f"the environment of Tune's actors; {version}"
    raylet = (Path(ray.__file__).parent / "core/src/ray/raylet/raylet").read_bytes()
    ours = [*RAY_ENVIRONMENT, WORKER_NICENESS]
    settings = [name.removeprefix("RAY_") for name in ours if name.removeprefix("RAY_")[:1].islower()]
    assert len(settings) == 5, "those that have no public form, which Ray writes in small letters"
    for setting in settings:
        assert setting.encode() in raylet, f"setting RAY_{setting}; {version}"


def test_tune_is_patched_only_while_trials_run() -> None:
    before = tune_controller._ObjectCache, dict(class_cache.DEFAULT_ENV_VARS)
    with patched_tune(3):
        assert isinstance(tune_controller._ObjectCache(may_keep_one=True), ReusableActorCache)
        assert class_cache.DEFAULT_ENV_VARS == {}
    assert (tune_controller._ObjectCache, class_cache.DEFAULT_ENV_VARS) == before
    assert before[1], "else there is nothing to patch"


def test_as_many_workers_are_kept_as_run_at_once() -> None:
    cache = ReusableActorCache(3)
    assert [cache.cache_object(ANY, worker) for worker in "abcd"] == [True, True, True, False]
    assert list(cache.flush_cached_objects()) == []
    assert [cache.pop_cached_object(ANY) for _ in range(4)] == ["a", "b", "c", None]
    assert cache.num_cached_objects == 0


def test_an_idle_worker_goes_to_the_next_trial_and_later_to_one_that_waits() -> None:
    now_s = 0.0
    cache = ReusableActorCache(2, now=lambda: now_s)
    cache.increase_max(ANY)  # a trial whose worker is being started
    assert not cache.has_cached_object(ANY)
    now_s = 100.0
    assert cache.cache_object(ANY, "a")
    assert not cache.has_cached_object(ANY), "the waiting trial may not take it"
    cache.increase_max(ANY)
    assert cache.has_cached_object(ANY), "a new one may"
    assert not cache.has_cached_object(ANY)
    now_s += GRACE_S
    assert cache.has_cached_object(ANY), "none came, so that the waiting one may"


def test_a_trial_that_comes_back_gets_the_worker_that_had_it() -> None:
    cache, first, last = ReusableActorCache(3), cores(0), cores(7)
    assert first == last
    assert trial_of(ANY) is None
    for worker, trial in (("a", 0), ("b", 7), ("c", 8)):
        assert cache.cache_object(cores(trial), worker)
    assert [cache.pop_cached_object(cores(trial)) for trial in (7, 9, 8, 10)] == ["b", "a", "c", None]
    assert cache.num_cached_objects == 0


class Holder(Slow):
    """A worker of which one is idle when the trial of another is stopped and comes back."""

    def step(self) -> dict[str, Any]:
        pid, place = os.getpid(), self._folder / "pid"
        if self._back:
            return self._report(None, StopReason.PRUNED, {"same": float(place.read_text() == str(pid))})
        self._folder.mkdir(parents=True, exist_ok=True)
        place.write_text(str(pid))
        if self._number == 0:
            while len(list(self._folder.parent.glob("*/pid"))) < 2:
                time.sleep(0.1)
            return self._report(0.9, StopReason.FINISHED)
        time.sleep(3)  # in which the other worker falls idle
        return self._report(0.1)

    def _begin(self, config: dict[str, Any]) -> None:
        super()._begin(config)
        self._number, self._back = config["number"], config["pruned"] is not None

    def _report(self, value: float | None, ended: StopReason | None = None, scores: Any = None) -> dict[str, Any]:
        epochs = () if value is None else (metrics(1, value),)
        return {"trial_result": TrialResult(epochs, str(self._folder / "epoch-0001"), ended, evaluation=scores or {})}


def test_a_pruned_trial_is_evaluated_by_the_worker_that_has_it(tmp_path: Path, ray_cluster: None) -> None:
    storage, layout = make_storage(tmp_path / "study", make_spec(trials=2))
    with driver_lock(layout):
        controller = TrialController(storage, layout, Listener(), evaluates=True)
        controller.start_session(started(storage))
        run_trials(controller, layout, Holder, Slots(1, 0.0, 2))
        controller.raise_captured()
        controller.end_session()
    record = storage.record(1)
    assert (record.state, record.attempts, record.metrics["same"]) == (TrialState.PRUNED, 1, 1.0)


def test_workers_make_way_for_a_trial_that_needs_other_resources() -> None:
    cache = ReusableActorCache(3)
    assert cache.cache_object(ANY, "a")
    cache.increase_max(LARGE)
    assert not cache.cache_object(ANY, "b")
    assert list(cache.flush_cached_objects()) == ["a"]
    assert cache.cache_object(LARGE, "c")
    cache.decrease_max(LARGE)
    assert list(cache.flush_cached_objects()) == []
    assert list(cache.flush_cached_objects(force_all=True)) == ["c"]
    assert cache.num_cached_objects == 0

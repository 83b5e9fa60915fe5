"""Trials share GPUs as Tune and Ray place them: logical GPUs, a stand-in for the training, a real cluster."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher
from test_packing import choice, few_images, study

from study.engine.gpu import memory_probe as probe
from study.engine.gpu.memory_key import memory_key
from study.engine.gpu.packing import Packing, ProbeResult, pack_trials, share_of
from study.engine.ray.actor_reuse import patched_tune
from study.engine.ray.cluster import Slots, plan_slots
from study.engine.trial_result import Failure, TrialResult
from study.search.space import trial_config

GPUS = 2
SPEC = study(choice("batch_size", 64, 128, 256))
SHARES = {64: 0.25, 128: 0.5, 256: 1.0}


pytestmark = pytest.mark.usefixtures("ray_cluster")


class Queue(Searcher):
    """Hands out trials as the controller does: one that ran out of memory beside others comes once more, alone."""

    def __init__(self, diary: Path, sizes: list[int]) -> None:
        super().__init__()
        self._diary = diary
        self._waiting = [self._config(number, size, alone=False) for number, size in enumerate(sizes)]
        self._running: set[int] = set()

    def _config(self, number: int, size: int, *, alone: bool) -> dict[str, Any]:
        trial = trial_config(SPEC, {"batch_size": size}, point=number).model_dump()
        return {"number": number, "trial": trial, "alone": alone, "diary": str(self._diary)}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if not self._waiting:
            return None if self._running else Searcher.FINISHED  # type: ignore[return-value]
        config = self._waiting.pop(0)
        self._running.add(config["number"])
        return config

    def take(self, config: dict[str, Any], report: TrialResult) -> None:
        self._running.discard(config["number"])
        if report.failure is not None:
            self._waiting.append({**config, "alone": True})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler has told."""

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


class Teller(FIFOScheduler):
    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._queue = queue

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if result["trial_result"] is None:
            return str(TrialScheduler.CONTINUE)
        self._queue.take(trial.config, result["trial_result"])
        return str(TrialScheduler.STOP)


def stand_in(needs_all: frozenset[int], together: frozenset[int]) -> type[tune.Trainable]:
    """Make a trainable that notes when it was on which GPU, and in which process.

    Args:
        needs_all: trials that run out of memory unless they are alone.
        together: trials that wait for each other, so that all of them run at the same time.
    """

    class StandIn(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._begin(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._begin(new_config)
            return True

        def _begin(self, config: dict[str, Any]) -> None:
            self._given, self._diary, self._since = config, Path(config["diary"]), time.time()
            (self._diary / f"{config['number']}.started").touch()

        def step(self) -> dict[str, Any]:
            time.sleep(0.05)
            given = self._given
            missing = [other for other in together if not (self._diary / f"{other}.started").exists()]
            if given["number"] in together and missing:
                return {"trial_result": None}
            note = {
                "number": given["number"], "alone": given["alone"], "from": self._since, "to": time.time(),
                "gpus": ray.get_runtime_context().get_accelerator_ids()["GPU"],
                "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            }  # fmt: skip
            name = f"{given['number']}-{'alone' if given['alone'] else 'beside'}.json"
            (self._diary / name).write_text(json.dumps(note))
            short_of_memory = given["number"] in needs_all and not given["alone"]
            failure = Failure("OutOfMemoryError: CUDA out of memory", "") if short_of_memory else None
            return {"trial_result": TrialResult(failure=failure)}

    return StandIn


def run(
    folder: Path,
    packing: Packing,
    sizes: list[int],
    *,
    needs_all: frozenset[int] = frozenset(),
    together: frozenset[int] = frozenset(),
) -> list[Any]:
    """Run trials through Tune as ``run_trials`` does, and read the diary in the order of time."""
    diary = folder / "diary"
    diary.mkdir()
    queue = Queue(diary, sizes)
    tuner = tune.Tuner(
        tune.with_resources(stand_in(needs_all, together), packing.resources_for),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(queue, max_concurrent=packing.slots.count),
            scheduler=Teller(queue),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(folder / "tune"),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
            log_to_file=False,
        ),
    )
    with patched_tune(packing.slots.count):
        tuner.fit()
    notes = [json.loads(path.read_text()) for path in diary.glob("*.json")]
    return sorted(notes, key=lambda note: float(note["from"]))


def beside(note: Any, notes: list[Any]) -> list[int]:
    """Return the trials that were on the same GPU at the same time."""
    return [
        other["number"]
        for other in notes
        if other is not note
        and other["gpus"] == note["gpus"]
        and other["from"] < note["to"]
        and note["from"] < other["to"]
    ]


def test_trials_of_several_sizes_share_two_gpus_and_none_waits_for_ever(tmp_path: Path) -> None:
    keys = {size: memory_key({**SPEC.trial.model_dump(), "batch_size": size}, 32) for size in SHARES}
    packing = Packing(Slots(1, 0.25, 4), 32, {keys[size]: share for size, share in SHARES.items()})
    sizes = [64, 64, 128, 256, 64, 128, 64]
    notes = run(tmp_path, packing, sizes, together=frozenset({0, 1, 2}))
    assert sorted(note["number"] for note in notes) == list(range(len(sizes)))
    assert {note["visible"] for note in notes} == {"0", "1"}, "each worker sees the one GPU it was given"
    for note in notes:
        assert [note["visible"]] == note["gpus"]
        shares = SHARES[sizes[note["number"]]] + sum(SHARES[sizes[other]] for other in beside(note, notes))
        assert sizes[note["number"]] != 256 or shares == 1.0, "a whole GPU is shared with nobody"
    assert any(beside(note, notes) for note in notes), "of three at a time two share a GPU"


def test_a_trial_short_of_memory_runs_once_more_with_a_gpu_of_its_own(tmp_path: Path) -> None:
    notes = run(tmp_path, Packing(Slots(1, share_of(2), 4)), [64] * 8, needs_all=frozenset({1, 4}))
    by_number: dict[int, list[Any]] = defaultdict(list)
    for note in notes:
        by_number[note["number"]].append(note)
    assert {number: [note["alone"] for note in of_trial] for number, of_trial in by_number.items()} == {
        number: [False, True] if number in (1, 4) else [False] for number in range(8)
    }
    for number in (1, 4):
        assert beside(by_number[number][1], notes) == []


def test_a_cluster_whose_gpus_torch_cannot_use_gives_each_trial_one() -> None:
    slots = plan_slots(SPEC.resources, trials=9)
    assert slots == Slots(1, 1.0, GPUS)
    said: list[str] = []
    results = probe.wait_for_probe(probe.start_probe(SPEC, slots), said.append)
    assert results == (ProbeResult(),)
    assert said == ["measuring how much of a GPU's memory a trial takes"]
    assert pack_trials(SPEC, slots, results, few_images(), 9).slots == slots


def test_a_probe_that_gets_no_gpu_does_not_hold_the_study_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WAIT_S", 0.2)

    @ray.remote(num_gpus=1)
    class Occupant:
        def here(self) -> bool:
            return True

    others = [Occupant.remote() for _ in range(GPUS)]
    ray.get([actor.here.remote() for actor in others])
    results = probe.wait_for_probe(probe.start_probe(SPEC, Slots(1, 1.0, 2)), lambda line: None)
    assert results == (ProbeResult(fault="no GPU was free within 0.2 s"),)
    for actor in others:
        ray.kill(actor)

"""What only a real GPU can show: memory that comes back, shares of a GPU, precision, and how alike two runs are."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from training_kit import MAX_AUC, TIMES, noisy_halves, short_trial

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.study_config import DataSpec, StudySpec
from study.data.dataset import ImageSet, make_bundle
from study.engine.gpu import memory_probe as probe
from study.engine.gpu.packing import pack_trials
from study.engine.ray.cluster import RAY_ENVIRONMENT, leave_cluster, plan_slots
from study.engine.ray.trainable import SharedObjects, TrialTrainable
from study.paths import cache_dir
from study.training.checkpoint import best_folder, load_weights, read_card
from study.training.learner import make_learner
from study.training.memory_estimate import run_sample_steps
from study.training.progress import TrainingProgress
from study.training.trainer import train
from study.training.training_data import TrainingData

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
MIB, GIB = 2**20, 2**30
CUDA = torch.device("cuda")
DATA = noisy_halves(train=512, val=128, size=64)


def auto_trial(**changed: Any) -> TrialConfig:
    """Return a trial that computes as the hardware likes best."""
    return short_trial(**{"precision": "auto", "channels_last": "auto", **changed})


def held() -> int:
    """Return what torch holds of the GPU once everything that can be given back was."""
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(CUDA)


def run(config: TrialConfig, folder: Path, data: TrainingData = DATA) -> TrainingProgress:
    *_, last = train(config, data, MAX_AUC, folder, device=CUDA)
    return last


def numbers(progress: TrainingProgress) -> np.ndarray:
    """Return all metrics but times and sizes: [epochs, metrics]."""
    return np.array(
        [[epoch.values[name] for name in sorted(epoch.values) if name not in TIMES] for epoch in progress.history]
    )


def worker_with(config: TrialConfig, folder: Path) -> tuple[TrialTrainable, dict[str, Any]]:
    worker = TrialTrainable.__new__(TrialTrainable)
    given = as_given(config, folder)
    worker.setup(given, shared=SharedObjects(DATA, MAX_AUC, 1, 1.0, {}))
    return worker, given


def as_given(config: TrialConfig, folder: Path) -> dict[str, Any]:
    return {"number": 0, "trial": config.model_dump(), "directory": str(folder), "pruned": None, "alone": False}


def test_a_trial_computes_in_bf16_and_channels_last_where_the_gpu_is_fast_at_it(tmp_path: Path) -> None:
    fast = torch.cuda.is_bf16_supported(including_emulation=False)
    network = make_learner(auto_trial(), DATA, CUDA).network
    assert (network.precision, network.channels_last) == (("bf16", True) if fast else ("fp32", False))
    first = next(parameter for parameter in network.model.parameters() if parameter.ndim == 4)
    assert first.device.type == "cuda"
    assert first.dtype == torch.float32, "weights stay float32 under autocast"
    assert first.is_contiguous(memory_format=torch.channels_last) or not fast
    done = run(
        auto_trial(max_epochs=4, learning_rate=3e-3, augmentation="flip+rotate(15)+trivial+mixup(0.2)"), tmp_path
    )
    values = done.history[-1].values
    assert values["val_auc"] > 0.8
    assert 0 < values["peak_memory_bytes"] < 4 * GIB
    assert done.best_epoch is not None
    card = read_card(best_folder(tmp_path, done.best_epoch))
    assert (card.device, card.precision) == ("cuda", network.precision)
    stored = load_weights(best_folder(tmp_path, done.best_epoch))
    assert {tensor.device.type for tensor in stored.values()} == {"cpu"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_trial_goes_on_on_the_gpu_from_what_is_on_disk(tmp_path: Path, optimizer: str) -> None:
    config = auto_trial(max_epochs=3, optimizer=optimizer, ema_decay=0.9, clip_grad_norm=1.0, head_dropout=0.1)
    begun = train(config, DATA, MAX_AUC, tmp_path, device=CUDA)
    first = next(begun)
    begun.close()
    done = run(config, tmp_path)
    assert [epoch.epoch for epoch in done.history] == [1, 2, 3]
    assert done.history[0] == first.history[0]
    assert np.isfinite(numbers(done)).all()


def test_a_gpus_memory_is_free_again_after_a_trial(tmp_path: Path) -> None:
    run(auto_trial(), tmp_path / "warm")  # libraries keep their workspaces from the first use on
    before = held()
    run(auto_trial(depth=50, batch_size=128, ema_decay=0.9), tmp_path / "large")
    assert held() <= before + 32 * MIB


def test_a_warm_worker_begins_the_next_trial_with_the_last_ones_memory_given_back(tmp_path: Path) -> None:
    worker, _ = worker_with(auto_trial(), tmp_path / "0")
    assert worker.step()["trial_result"].failure is None
    worker.cleanup()
    before = held()
    large, small = auto_trial(depth=50, batch_size=256, max_epochs=3), auto_trial(batch_size=8, max_epochs=3)
    worker.reset_config(as_given(large, tmp_path / "large"))
    high = worker.step()["trial_result"].epochs[0].values["peak_memory_bytes"]
    assert torch.cuda.memory_reserved(CUDA) > before + 100 * MIB
    worker.reset_config(as_given(small, tmp_path / "small"))
    assert torch.cuda.memory_reserved(CUDA) <= before + 32 * MIB, "free before the next trial takes any"
    low = worker.step()["trial_result"].epochs[0].values["peak_memory_bytes"]
    assert low < high / 2, "the peak of one trial is not that of the one before"
    worker.cleanup()
    assert torch.cuda.memory_reserved(CUDA) <= before + 32 * MIB


def test_a_trial_without_room_is_reported_as_that_and_the_worker_goes_on(tmp_path: Path) -> None:
    worker, _ = worker_with(auto_trial(), tmp_path / "0")
    worker.step()
    worker.cleanup()
    before = held()
    torch.cuda.set_per_process_memory_fraction((before + 200 * MIB) / torch.cuda.mem_get_info(CUDA)[1], CUDA)
    try:
        worker.reset_config(as_given(auto_trial(depth=152, batch_size=512), tmp_path / "large"))
        failure = worker.step()["trial_result"].failure
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)
    assert failure is not None
    assert failure.memory
    assert not failure.disk
    assert torch.cuda.memory_reserved(CUDA) <= before + 32 * MIB
    worker.reset_config(as_given(auto_trial(), tmp_path / "next"))
    assert worker.step()["trial_result"].failure is None
    worker.cleanup()


def test_two_runs_on_one_gpu_are_alike(tmp_path: Path) -> None:
    """The same data order, augmentations and first weights; CUDA may add in another order, so not to the last bit."""
    config = auto_trial(max_epochs=1, precision="fp32", augmentation="flip+rotate(15)+colour(0.2)")
    first, other = numbers(run(config, tmp_path / "a")), numbers(run(config, tmp_path / "b"))
    np.testing.assert_allclose(first, other, rtol=0.05, atol=0.05)
    weights = [make_learner(config, DATA, device).network.model.state_dict() for device in (CUDA, torch.device("cpu"))]
    assert all(torch.equal(weights[0][name].cpu(), weights[1][name]) for name in weights[0])


@pytest.fixture(scope="module")
def ray_on_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in RAY_ENVIRONMENT.items():
            patch.setenv(key, value)
        patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("gpu-cache")))
        gc.collect()
        torch.cuda.empty_cache()
        ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
        yield
        leave_cluster()


def test_a_probe_measures_what_is_plausible_and_is_remembered(ray_on_gpus: None) -> None:
    half = ImageSet(np.zeros((4, 64, 64, 3), np.uint8), np.array([0, 1, 0, 1], np.int64), ("a", "b", "c", "d"))
    data = make_bundle("folder", 64, ("no", "yes"), {"train": half, "val": half})
    spec = StudySpec(name="a", data=DataSpec(image_size_px=64), trial=Hyperparameters(depth=50, batch_size=64))
    slots = plan_slots(spec.resources, trials=99)
    assert slots.gpus == 1.0
    results = probe.wait_for_probe(probe.start_probe(spec, slots), lambda line: None)
    for result in results:
        assert result.fault is None
        assert result.card is not None
        assert result.card.name == torch.cuda.get_device_name(CUDA)
        assert GIB < result.card.usable_bytes <= torch.cuda.mem_get_info(CUDA)[1]
        (need,) = result.needs.values()
        weights = 25e6 * 4 * 4  # with gradients and Adam's two states
        assert weights < need.allocated_bytes <= need.reserved_bytes < 16 * GIB
        assert 50 * MIB < need.context_bytes < 3 * GIB
    packing = pack_trials(spec, slots, results, data, trials=99)
    assert 0 < packing.slots.gpus <= 1
    assert packing.slots.count >= slots.count
    remembered = (cache_dir() / "gpu_memory.json").read_bytes()
    again = probe.wait_for_probe(probe.start_probe(spec, slots), lambda line: None)
    assert [result.needs for result in again] == [result.needs for result in results]
    assert (cache_dir() / "gpu_memory.json").read_bytes() == remembered


def test_two_trials_share_a_gpu_as_ray_shows_it_to_them(ray_on_gpus: None) -> None:
    @ray.remote(num_cpus=1, num_gpus=0.5, max_calls=1)
    def work(batch_size: int) -> tuple[str | None, int, int]:
        config = Hyperparameters(depth=18, batch_size=batch_size)
        run_sample_steps(config, 64, torch.device("cuda"))
        return os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count(), torch.cuda.max_memory_allocated()

    seen = ray.get([work.remote(32), work.remote(64)])
    assert {visible for visible, _, _ in seen} == {seen[0][0]}, "Ray fills one GPU before it begins the next"
    assert seen[0][0] is not None
    assert all(count == 1 for _, count, _ in seen)
    assert all(peak > 50 * MIB for _, _, peak in seen)

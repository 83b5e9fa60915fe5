"""A worker's own duties: say every fault in plain words, and never share a trial's folder."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import Objective
from study.config.study_config import DataSpec
from study.data import load_data
from study.engine.files.working_directory import FolderInUseError, lock_folder
from study.engine.ray.trainable import SharedObjects, TrialTrainable, training_data
from study.engine.trial_result import TrialResult, describe_failure
from study.records import StopReason
from study.training import trainer as loop
from study.training.training_data import TrainingData

IMAGES, LABELS = np.zeros((8, 16, 16, 3), np.uint8), np.array([0, 1] * 4)
SHARED = SharedObjects(
    TrainingData(IMAGES, LABELS, IMAGES, LABELS, ("a", "b"), "f"), Objective(metric="val_auc", mode="max"), 1, 0.0, {}
)


class UnprintableError(Exception):
    """Can be neither printed nor pickled."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> str:
        raise RuntimeError("no pickle")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "summary", "disk"),
    [
        (ValueError("low\nhigh"), "ValueError: low", False),
        (MemoryError(), "MemoryError", False),
        (OSError(errno.ENOENT, "No such file"), "FileNotFoundError: [Errno 2] No such file", False),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device", True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "RuntimeError: I/O error", True),
        (caused(RuntimeError("writer failed"), OSError(errno.EDQUOT, "quota")), "RuntimeError: writer failed", True),
    ],
)
def test_faults_are_said_in_one_line_and_the_disk_is_known(error: Exception, summary: str, disk: bool) -> None:
    failure = describe_failure(error)
    assert failure.summary.startswith(summary)
    assert "\n" not in failure.summary
    assert failure.disk is disk
    assert type(error).__name__ in failure.traceback


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (caused(ValueError("the step failed"), RuntimeError("CUDA out of memory. Tried to allocate")), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_gpu_without_memory_is_known(error: Exception, memory: bool) -> None:
    assert describe_failure(error).memory is memory
    assert not describe_failure(error).disk


def worker(config: dict[str, Any]) -> TrialTrainable:
    made = TrialTrainable.__new__(TrialTrainable)
    made.setup(config, shared=SHARED)
    return made


def given(folder: Path, **changes: object) -> dict[str, Any]:
    config = TrialConfig(**Hyperparameters(depth=10, max_epochs=2, batch_size=4).model_dump(), seed=1, point=0)
    return {"trial": {**config.model_dump(), **changes}, "directory": str(folder), "number": 0, "pruned": None}


def test_trials_open_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    rng, pictures = np.random.default_rng(0), tmp_path / "pictures"
    for at in range(24):
        (pictures / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(pictures / "ab"[at % 2] / f"{at}.png")
    data = training_data(load_data(DataSpec(source="folder", path=str(pictures), image_size_px=16)), "crop")
    shutil.rmtree(pictures)
    made = TrialTrainable.__new__(TrialTrainable)
    made.setup(given(tmp_path / "0"), shared=replace(SHARED, data=data))
    for trial in range(2):
        made.reset_config(given(tmp_path / str(trial)))
        reports = [made.step()["trial_result"] for _ in range(2)]
        assert [report.failure for report in reports] == [None, None]
        assert reports[-1].ended is StopReason.FINISHED


def raising(error: BaseException) -> Callable[..., Iterator[Any]]:
    def train(*args: object, **kwargs: object) -> Iterator[Any]:
        raise error
        yield

    return train


@pytest.mark.parametrize("error", [MemoryError(), UnprintableError(), ZeroDivisionError("no")])
def test_an_exception_of_the_training_is_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("study.training.trainer.train", raising(error))
    report = worker(given(tmp_path)).step()["trial_result"]
    assert isinstance(report, TrialResult)
    assert report.failure is not None
    assert report.failure.summary.startswith(type(error).__name__) or "UnprintableError" in report.failure.summary
    assert "raise error" in report.failure.traceback


def test_a_trial_that_cannot_even_begin_is_a_report_and_the_worker_takes_the_next(tmp_path: Path) -> None:
    trainable = worker(given(tmp_path / "bad", depth=11))
    failure = trainable.step()["trial_result"].failure
    assert "ValidationError" in failure.summary
    assert trainable.reset_config(given(tmp_path / "good"))
    report = trainable.step()["trial_result"]
    assert report.failure is None
    assert [epoch.epoch for epoch in report.epochs] == [1]
    assert Path(report.checkpoint).is_dir()
    trainable.cleanup()


def test_a_worker_lets_go_of_a_folder_when_its_trial_ends(tmp_path: Path) -> None:
    trainable = worker(given(tmp_path))
    trainable.step()
    with pytest.raises(FolderInUseError, match="another process"):
        lock_folder(tmp_path, wait_s=0.1)
    trainable.reset_config(given(tmp_path / "next"))
    other = worker(given(tmp_path))
    assert [epoch.epoch for epoch in other.step()["trial_result"].epochs] == [1]
    other.cleanup()


def test_a_folder_in_use_is_no_fault_of_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "study.engine.files.working_directory.lock_folder", lambda folder: lock_folder(folder, wait_s=0.1)
    )
    first, second = worker(given(tmp_path)), worker(given(tmp_path))
    first.step()
    with pytest.raises(FolderInUseError):
        second.step()
    first.cleanup()


HOLD = """
import sys, time
from pathlib import Path
from study.engine.files.working_directory import lock_folder
handle = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(600)
"""


def test_the_folder_of_a_killed_worker_is_free_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == "locked\n"
        with pytest.raises(FolderInUseError):
            lock_folder(tmp_path, wait_s=0.1)
        orphan.kill()
        lock_folder(tmp_path)


def test_a_trial_without_a_gpu_stays_on_the_cpu_where_ray_leaves_one_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def train(*args: object, device: object, **kwargs: object) -> Iterator[Any]:
        asked.append(device)
        raise ZeroDivisionError
        yield

    monkeypatch.setattr("study.training.trainer.train", train)
    worker(given(tmp_path)).step()
    monkeypatch.setattr(f"{__name__}.SHARED", replace(SHARED, gpus=1.0))
    worker(given(tmp_path)).step()
    assert asked == [torch.device("cpu"), None]


def test_the_time_on_a_worker_counts_from_when_it_took_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("study.engine.ray.trainable.time.monotonic", lambda: now[0])
    trainable = worker(given(tmp_path / "a"))
    spent = []
    for later in (107.0, 110.0):
        now[0] = later
        spent.append(trainable.step()["trial_result"].busy_s)
    now[0] = 200.0
    trainable.reset_config(given(tmp_path / "b"))
    now[0] = 201.5
    spent.append(trainable.step()["trial_result"].busy_s)
    assert spent == [7.0, 10.0, 1.5]
    trainable.cleanup()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the whole process would keep its lower priority")
def test_a_trial_lets_others_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []
    monkeypatch.setenv("STUDY_TRIAL_NICENESS", str(before + 1))

    def train_once() -> None:
        made = worker(given(tmp_path))
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        assert made.step()["trial_result"].failure is None
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        made.cleanup()

    thread = threading.Thread(target=train_once)  # of which alone the priority is lowered
    thread.start()
    thread.join()
    assert seen == [before, before + 1]


def remember(monkeypatch: pytest.MonkeyPatch, kept: list[weakref.ref[Any]]) -> None:
    """Note what each trial makes that is large."""
    make_learner, images_on = loop.make_learner, loop._images_for

    def made(*args: Any, **kwargs: Any) -> Any:
        learner = make_learner(*args, **kwargs)
        kept.extend(map(weakref.ref, [learner, learner.network.model, learner.optimizer]))
        kept.extend(map(weakref.ref, learner.network.model.parameters()))
        return learner

    def placed(*args: Any, **kwargs: Any) -> Any:
        images = images_on(*args, **kwargs)
        kept.extend(map(weakref.ref, [images, images.training, images.training._images]))
        return images

    monkeypatch.setattr(loop, "make_learner", made)
    monkeypatch.setattr(loop, "_images_for", placed)


@pytest.mark.parametrize("ending", ["left", "whole", "failed"])
def test_nothing_of_a_trial_is_alive_when_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    kept: list[weakref.ref[Any]] = []
    remember(monkeypatch, kept)
    trainable = worker(given(tmp_path / "a"))
    trainable.step()
    assert len(kept) > 10
    assert all(ref() is not None for ref in kept), "while it trains, all of it is needed"
    if ending == "failed":
        monkeypatch.setattr(loop, "train_epoch", failing)
        failure = trainable.step()["trial_result"].failure
        assert "out of memory" in failure.summary
        assert failure.memory
    elif ending == "whole":
        assert trainable.step()["trial_result"].ended is StopReason.FINISHED
    if ending != "left":
        assert not any(ref() for ref in kept), "others may wait for the memory of a trial that is over"
    trainable.reset_config(given(tmp_path / "b"))
    assert not any(ref() for ref in kept)
    trainable.cleanup()


def failing(learner: object, *args: object) -> None:
    held = [learner]  # as a function's variables do, which the traceback keeps
    raise torch.OutOfMemoryError(f"CUDA out of memory with {len(held)} learner")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_memory_of_a_gpu_is_free_again_before_the_next_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SHARED", replace(SHARED, gpus=1.0))
    warm = worker(given(tmp_path / "warm"))
    warm.step()
    warm.reset_config(given(tmp_path / "next"))
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    warm.step()
    assert torch.cuda.memory_allocated() > before[0] + 10e6
    warm.reset_config(given(tmp_path / "last"))
    assert torch.cuda.memory_allocated() <= before[0] + 1e6
    assert torch.cuda.memory_reserved() <= before[1] + 4e6
    warm.cleanup()

"""Measure training on a GPU in at most four minutes (`make bench-gpu`); without one it refuses with exit code 2.

Run: python tests/benchmarks/bench_gpu.py [--limit-s 240] [--out FILE.json]

Four parts: images per second of training ResNet-50 at 112 px in bf16 and channels last with batches of 64 and 512;
several trials at once on one GPU against one alone; whether the memory is free again when a trial has ended; and what
the packing decides from measured memory. A part for which no time is left is named in the report.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from machine import commit_of, describe_machine

from study.config.hyperparameters import TrialConfig
from study.errors import StudyError
from study.training import device as devices
from study.training.dataset import DeviceImages
from study.training.learner import image_order, make_learner, train_epoch
from study.training.training_data import TrainingData

if TYPE_CHECKING:
    from study.engine.gpu.memory_key import MemoryKey
    from study.engine.gpu.packing import ProbeResult

ROOT = Path(__file__).resolve().parents[2]
NO_GPU = 2
LIMIT_S = 240
MIB = 2**20
DEPTH, SIZE_PX, BATCHES = 50, 112, (64, 512)
SHARED_BATCH, SHARED_S, MOST_AT_ONCE = 64, 5.0, 4
READY_LIMIT_S = 90.0
MOST_IMAGES = 512
ROUNDS = 5


def main() -> None:
    """Run the parts while the time lasts and write what they measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "gpu.json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "make bench-gpu needs a GPU that torch can use, but there is none; `make bench` is for CPUs",
            file=sys.stderr,
        )
        raise SystemExit(NO_GPU)
    report = {
        "machine": describe_machine(),
        "commit": commit_of(ROOT),
        **run_parts(torch.device("cuda"), options.limit_s),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def run_parts(device: torch.device, limit_s: float, depth: int = DEPTH, size_px: int = SIZE_PX) -> dict[str, Any]:
    """Return what every part measured, or why it did not."""
    until = time.monotonic() + limit_s
    parts: dict[str, Callable[[], Any]] = {
        "packing": lambda: packing(device, depth, size_px),
        "throughput": lambda: [throughput(device, batch, depth, size_px, until=until) for batch in BATCHES],
        "memory_between_trials": lambda: memory_between_trials(device, depth, size_px),
        "at_once": lambda: at_once(device, depth, size_px, until),
    }
    report: dict[str, Any] = {"gpu": gpu_of(device), "depth": depth, "image_size_px": size_px}
    for name, measure in parts.items():
        started = time.monotonic()
        if started >= until:
            report[name] = {"left_out": "no time was left"}
            continue
        try:
            report[name] = measure()
        except (RuntimeError, StudyError) as error:  # out of memory, above all
            report[name] = {"left_out": (str(error) or type(error).__name__).splitlines()[0]}
        report[f"{name}_took_s"] = round(time.monotonic() - started, 1)
    return report


def gpu_of(device: torch.device) -> dict[str, Any]:
    """Name a GPU and its memory."""
    if device.type != "cuda":
        return {"name": device.type}
    free, total = torch.cuda.mem_get_info(device)
    return {
        "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda, "total_mib": round(total / MIB),
        "free_mib": round(free / MIB), "count": torch.cuda.device_count(),
    }  # fmt: skip


def trial(batch_size: int, depth: int) -> TrialConfig:
    """Return a trial without augmentation, in bf16 and channels last."""
    return TrialConfig(
        seed=0, point=0, depth=depth, init="kaiming", augmentation="none", optimizer="sgd", learning_rate=1e-3,
        precision="bf16", channels_last=True, batch_size=batch_size, max_epochs=100,
    )  # fmt: skip


def random_data(images: int, size_px: int) -> TrainingData:
    """Return noise of two classes; validation is a few of the images."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, size_px, size_px, 3), dtype=np.uint8)
    labels = np.arange(images, dtype=np.int64) % 2
    return TrainingData(pixels, labels, pixels[:8], labels[:8], ("off", "on"), "random")


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Epochs:
    """A trial and its images on a device, of which one short epoch after another is trained."""

    def __init__(self, device: torch.device, batch_size: int, depth: int, size_px: int, steps: int) -> None:
        self._config, data = trial(batch_size, depth), random_data(min(batch_size, MOST_IMAGES), size_px)
        self._learner = make_learner(self._config, data, device)
        self._images = DeviceImages(data.train_images, data.train_labels, device)
        order = image_order(self._config, data.train_labels, 1)
        self._order = order.repeat(steps * batch_size // len(order) + 1)[: steps * batch_size]
        self._device, self._epoch = device, 0

    def train(self) -> float:
        """Train an epoch and return its images per second."""
        self._epoch += 1
        wait_for(self._device)
        started = time.perf_counter()
        train_epoch(self._learner, self._images, self._order, self._config, self._epoch)
        wait_for(self._device)
        return len(self._order) / (time.perf_counter() - started)

    @property
    def images(self) -> int:
        """How many images an epoch has."""
        return len(self._order)


def throughput(
    device: torch.device, batch_size: int, depth: int, size_px: int, *, steps: int = 10, rounds: int = ROUNDS,
    until: float = math.inf,
) -> dict[str, Any]:  # fmt: skip
    """Return the images per second of whole training epochs of so many steps, the first round left out.

    After ``until`` one round is enough.
    """
    devices.reset_peak_memory(device)  # or the peak would be that of the part before
    epochs, rates = Epochs(device, batch_size, depth, size_px, steps), []
    epochs.train()
    while len(rates) < rounds and not (rates and time.monotonic() > until):
        rates.append(epochs.train())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "batch_size": batch_size, "images_per_s": round(statistics.median(rates), 1),
        "rounds": [round(rate, 1) for rate in rates], "peak_allocated_mib": round(peak / MIB),
    }  # fmt: skip


def memory_between_trials(device: torch.device, depth: int, size_px: int, trials: int = 3) -> dict[str, Any]:
    """Return the memory held during each of several trials in one process, and after it as a worker frees it."""
    held = []
    for _ in range(trials):
        throughput(device, SHARED_BATCH, depth, size_px, steps=2, rounds=1)
        during = _reserved(device)  # torch keeps what a trial held until it is told to free it
        gc.collect()
        devices.reset_peak_memory(device)
        held.append({"during_mib": round(during / MIB), "after_mib": round(_reserved(device) / MIB)})
    return {"trials": held, "grows_mib": held[-1]["after_mib"] - held[0]["after_mib"]}


def _reserved(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def packing(device: torch.device, depth: int, size_px: int) -> dict[str, Any]:
    """Return how many trials of each batch size fit on the GPU by their measured memory, as a study would decide."""
    if device.type != "cuda":
        return {"left_out": "memory is measured on GPUs only"}
    from study.engine.gpu.memory_key import memory_key
    from study.engine.gpu.memory_probe import probe_memory  # a second for Ray, which a refusal need not wait for

    keys = [memory_key(trial(batch, depth).model_dump(), size_px) for batch in BATCHES]
    result = probe_memory(keys, {}, device)
    return {
        "usable_mib": round(result.card.usable_bytes / MIB) if result.card else 0,
        "trials": [fitting(result, key) for key in keys if key in result.needs],
        "too_large": str(result.too_large) if result.too_large else None,
    }


def fitting(result: ProbeResult, key: MemoryKey) -> dict[str, Any]:
    """Return the measured need of a trial, without images, and how many have room with the packing's margin."""
    from study.engine.gpu.packing import MOST_PER_GPU, count_fitting

    need = result.needs[key]
    return {
        "batch_size": key.batch_size, "reserved_mib": round(need.reserved_bytes / MIB),
        "context_mib": round(need.context_bytes / MIB),
        "fit": min(MOST_PER_GPU, count_fitting(result, key, image_bytes=0)),
    }  # fmt: skip


def at_once(device: torch.device, depth: int, size_px: int, until: float) -> dict[str, Any]:
    """Return the images per second of one, two and more trials that share the device, each in its own process.

    What would end after ``until``, if it took as long as the one before, is left out.
    """
    together: dict[str, float] = {}
    count, took_s = 1, 0.0
    while count <= MOST_AT_ONCE and (started := time.monotonic()) + took_s < until:
        together[str(count)] = round(sum(rates_together(count, device, depth, size_px)), 1)
        count, took_s = 2 * count, time.monotonic() - started
    return {"batch_size": SHARED_BATCH, "images_per_s_together": together}


def rates_together(count: int, device: torch.device, depth: int, size_px: int) -> list[float]:
    """Return the images per second of trials that train at the same time."""
    devices.reset_peak_memory(device)  # what this process keeps is memory that they lack
    context = get_context("spawn")
    start = context.Barrier(count)
    with ProcessPoolExecutor(count, mp_context=context, initializer=_keep, initargs=(start,)) as pool:
        settings = (device, SHARED_BATCH, depth, size_px, SHARED_S)
        return [part.result() for part in [pool.submit(_rate_beside_others, *settings) for _ in range(count)]]


_start: Barrier | None = None


def _keep(start: Barrier) -> None:
    """Keep, in a new process, the barrier at which it waits for the others."""
    global _start
    _start = start


def _rate_beside_others(device: torch.device, batch_size: int, depth: int, size_px: int, seconds: float) -> float:
    """Warm up, wait for the others, train for some time and return the images per second."""
    epochs, trained = Epochs(device, batch_size, depth, size_px, steps=5), 0
    epochs.train()
    assert _start is not None
    _start.wait(READY_LIMIT_S)  # broken, and a RuntimeError, once another process has failed for so long
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        epochs.train()
        trained += epochs.images
    return trained / passed


if __name__ == "__main__":
    main()

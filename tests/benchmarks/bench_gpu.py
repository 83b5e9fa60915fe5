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
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import commit_of, describe_machine

from study.config.hyperparameters import TrialConfig
from study.engine.gpu.memory_key import MemoryKey, memory_key
from study.engine.gpu.memory_probe import probe_memory
from study.engine.gpu.packing import MOST_PER_GPU, ProbeResult, count_fitting
from study.training.dataset import DeviceImages
from study.training.learner import image_order, make_learner, train_epoch
from study.training.training_data import TrainingData

ROOT = Path(__file__).resolve().parents[2]
NO_GPU = 2
LIMIT_S = 240
MIB = 2**20
DEPTH, SIZE_PX, BATCHES = 50, 112, (64, 512)
SHARED_BATCH, MOST_AT_ONCE = 64, 4
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
        "throughput": lambda: [throughput(device, batch, depth, size_px) for batch in BATCHES],
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
        except RuntimeError as error:  # out of memory, above all
            report[name] = {"left_out": str(error).splitlines()[0]}
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


def throughput(
    device: torch.device, batch_size: int, depth: int, size_px: int, steps: int = 10, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Return the images per second of whole training epochs of so many steps, the first round left out."""
    config, data = trial(batch_size, depth), random_data(min(batch_size, 512), size_px)
    learner = make_learner(config, data, device)
    images = DeviceImages(data.train_images, data.train_labels, device)
    order = image_order(config, data.train_labels, 1).repeat(steps * batch_size // len(data.train_labels) + 1)
    order, rates = order[: steps * batch_size], []
    for epoch in range(1, rounds + 2):
        wait_for(device)
        started = time.perf_counter()
        train_epoch(learner, images, order, config, epoch)
        wait_for(device)
        rates.append(len(order) / (time.perf_counter() - started))
    rates = rates[1:]
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
        during = _reserved(device)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        held.append({"during_mib": round(during / MIB), "after_mib": round(_reserved(device) / MIB)})
    return {"trials": held, "grows_mib": held[-1]["after_mib"] - held[0]["after_mib"]}


def _reserved(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def packing(device: torch.device, depth: int, size_px: int) -> dict[str, Any]:
    """Return how many trials of each batch size fit on the GPU by their measured memory, as a study would decide."""
    if device.type != "cuda":
        return {"left_out": "memory is measured on GPUs only"}
    keys = [memory_key(trial(batch, depth).model_dump(), size_px) for batch in BATCHES]
    result = probe_memory(keys, {}, device)
    return {
        "usable_mib": round(result.card.usable_bytes / MIB) if result.card else 0,
        "trials": [fitting(result, key) for key in keys if key in result.needs],
        "too_large": str(result.too_large) if result.too_large else None,
    }


def fitting(result: ProbeResult, key: MemoryKey) -> dict[str, Any]:
    """Return the measured need of a trial, without images, and how many have room with the packing's margin."""
    need = result.needs[key]
    return {
        "batch_size": key.batch_size, "reserved_mib": round(need.reserved_bytes / MIB),
        "context_mib": round(need.context_bytes / MIB),
        "fit": min(MOST_PER_GPU, count_fitting(result, key, image_bytes=0)),
    }  # fmt: skip


def at_once(device: torch.device, depth: int, size_px: int, until: float) -> dict[str, Any]:
    """Return the images per second of one, two and more trials that share the device, each in its own process."""
    together: dict[str, float] = {}
    count = 1
    while count <= MOST_AT_ONCE and time.monotonic() < until:
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            parts = [pool.submit(throughput, device, SHARED_BATCH, depth, size_px) for _ in range(count)]
            together[str(count)] = round(sum(part.result()["images_per_s"] for part in parts), 1)
        count *= 2
    return {"batch_size": SHARED_BATCH, "images_per_s_together": together}


if __name__ == "__main__":
    main()

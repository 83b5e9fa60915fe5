"""Run the formats of a bundle's model on images, in a process that did not write them: `python -m ...measure`."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.bundles.bundle_config import parse_config
from study.bundles.bundle_files import CONFIG, GRAPH, BundleFiles
from study.bundles.onnx_classifier import OnnxClassifier
from study.export.bundle import load_bundle
from study.training.metrics import probabilities

Outputs = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Logits and calibrated probabilities, each [N] or [N, K]."""
Runner = Callable[[NDArray[np.uint8]], Outputs]
BATCH = 64
_MOST, _ENOUGH_S = 30, 1.0
"""Runs of one image that are timed: at most so many, and no more after that time."""


def run_safetensors(folder: Path) -> Runner:
    """Return what scores images with the weights and this package."""
    bundle = load_bundle(folder)
    temperature = bundle.config["temperature"]

    def run(images: NDArray[np.uint8]) -> Outputs:
        logits = bundle.logits(images)
        return logits, probabilities(logits / temperature)

    return run


def run_onnx(folder: Path) -> Runner:
    """Return what scores images with onnxruntime."""
    return OnnxClassifier.open(folder, threads=1).outputs


def run_pt2(folder: Path) -> Runner:
    """Return what scores images with the torch graph.

    Loading one executes pickles that are in it, so it must be this program's own.
    """
    files = BundleFiles.open(folder)
    parse_config(files.read(CONFIG), str(folder / CONFIG))
    files.read(GRAPH)
    module = torch.export.load(folder / GRAPH).module()

    def run(images: NDArray[np.uint8]) -> Outputs:
        with torch.no_grad():
            logits, scores = module(torch.from_numpy(np.array(images)))
        return logits.numpy(), scores.numpy()

    return run


RUNNERS: Mapping[str, Callable[[Path], Runner]] = {
    "safetensors": run_safetensors, "onnx": run_onnx, "pt2": run_pt2,
}  # fmt: skip


def measure(runner: Runner, images: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
    """Score all images in batches and time it: one image and 64 at a time, in milliseconds of CPU time.

    CPU time, because programs beside would make one format look slower than the next. The first batch is not counted,
    as libraries set themselves up in it.
    """
    outputs, times = [], []
    for start in range(0, len(images), BATCH):
        batch = np.ascontiguousarray(images[start : start + BATCH])
        started = time.process_time()
        outputs.append(runner(batch))
        if len(batch) == BATCH:
            times.append(time.process_time() - started)
    times = times[1:]
    if not times:
        whole = np.resize(images, (BATCH, *images.shape[1:]))
        times = [_time_s(runner, whole) for _ in range(2)][1:]
    return {
        "logits": np.concatenate([logits for logits, _ in outputs]),
        "probabilities": np.concatenate([scores for _, scores in outputs]),
        "latency_1_ms": np.array(1000 * _single_s(runner, np.ascontiguousarray(images[:1]))),
        "latency_64_ms": np.array(1000 * median(times)),
    }


def _single_s(runner: Runner, image: NDArray[np.uint8]) -> float:
    _time_s(runner, image)
    times: list[float] = []
    while len(times) < 3 or (len(times) < _MOST and sum(times) < _ENOUGH_S):
        times.append(_time_s(runner, image))
    return median(times)


def _time_s(runner: Runner, images: NDArray[np.uint8]) -> float:
    started = time.process_time()
    runner(images)
    return time.process_time() - started


def main(folder: str, images: str, out: str, *names: str) -> None:
    """Measure formats of the bundle in a folder on the images of an ``.npy`` file.

    Of each it writes outputs and times as ``<format>.npz`` into the folder ``out``, or its fault as ``<format>.txt``.
    """
    torch.set_num_threads(1)  # as onnxruntime's, so that they compare
    warnings.simplefilter("ignore")  # of torch's own parts about each other
    pictures = np.load(images, mmap_mode="r", allow_pickle=False)
    for name in names:
        try:
            measured: dict[str, Any] = measure(RUNNERS[name](Path(folder)), pictures)
        except Exception as error:  # whatever a damaged model raises is the answer
            (Path(out) / f"{name}.txt").write_text(str(error) or type(error).__name__, encoding="utf-8")
        else:
            np.savez(Path(out) / f"{name}.npz", **measured)


if __name__ == "__main__":
    main(*sys.argv[1:])

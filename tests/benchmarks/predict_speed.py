"""How fast a bundle is: one picture against torch, many against a loop in one thread, and the memory of 10,000 files.

    .venv/bin/python tests/benchmarks/predict_speed.py BUNDLE --out results/reference/predict_speed.json

BUNDLE is one that `study export-best` wrote. Ways are run by turns; the ratio is that of the medians. The pictures are
the built-in faces as JPEGs at 112 px, and enlarged with noise to 1920 x 1280. Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy_cores, commit_of, describe_machine
from PIL import Image

from study.bundles import OnnxClassifier
from study.export import load_bundle
from study.inference.prediction_stream import predict_files

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (1920, 1280)
BUSY_LOOPS = 2


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--faces", type=int, default=400)
    parser.add_argument("--photographs", type=int, default=48)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "others_keep_busy_cores": round(busy_cores(), 2),
        "bundle": json.loads((options.bundle / "config.json").read_text())["architecture"],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        faces, photographs = Path(scratch) / "faces", Path(scratch) / "photographs"
        write_pictures(faces, photographs, options.faces, options.photographs)
        result["one_picture"] = one_picture(options.bundle, faces, options.repeats)
        for name, folder in (("faces_112_px", faces), ("photographs_1920_px", photographs)):
            result[name] = many_pictures(options.bundle, folder, options.repeats)
        result["memory"] = memory(options.bundle, faces, options.files, Path(scratch) / "many")
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def write_pictures(faces: Path, photographs: Path, count: int, large: int) -> None:
    """Write the built-in faces as JPEGs, and some of them as large as a camera's."""
    from study.data.synthetic_faces import write_folder

    with tempfile.TemporaryDirectory() as scratch:
        write_folder(Path(scratch) / "faces", max(100, count), seed=0, size_px=112)
        paths = sorted((Path(scratch) / "faces").glob("*/*/*.jpg"))[:count]
        faces.mkdir()
        for at, path in enumerate(paths):
            (faces / f"{at:05d}.jpg").write_bytes(path.read_bytes())
    photographs.mkdir()
    rng = np.random.default_rng(0)
    for at, path in enumerate(sorted(faces.iterdir())[:large]):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize(PHOTO, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(photographs / f"{at:05d}.jpg", quality=90)


def one_picture(bundle: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Time a batch of one decoded picture: torch's model, and the ONNX model as it is opened and on one thread.

    Then the two last once more beside two programs that keep the cores busy.
    """
    import torch

    classifier, one_thread, loaded = OnnxClassifier.open(bundle), OnnxClassifier.open(bundle, 1), load_bundle(bundle)
    image = classifier.preprocess(next(iter(sorted(folder.iterdir()))))[None]
    np.testing.assert_allclose(classifier.probabilities(image), one_thread.probabilities(image), atol=1e-6)
    before = torch.get_num_threads()
    in_onnxruntime: dict[str, Callable[[], Any]] = {
        "onnxruntime": lambda: classifier.probabilities(image), "one_thread": lambda: one_thread.probabilities(image),
    }  # fmt: skip
    result = by_turns({"torch": lambda: loaded.scores(image), **in_onnxruntime}, repeats, inner=20)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_LOOPS)]
    try:
        busy = by_turns(in_onnxruntime, 2 * repeats, inner=20)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return {
        **result, "torch_threads": before, "torch_over_onnxruntime": ratio(result, "torch", "onnxruntime"),
        "beside_busy_loops": {
            "loops": BUSY_LOOPS, **busy, "onnxruntime_over_one_thread": ratio(busy, "onnxruntime", "one_thread"),
        },
    }  # fmt: skip


def many_pictures(bundle: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Time all files of a folder: a loop in one thread, and `predict`."""
    classifier, paths = OnnxClassifier.open(bundle, threads=1), sorted(folder.iterdir())

    def loop() -> None:
        for path in paths:
            classifier.probabilities(classifier.preprocess(path)[None])

    def stream() -> None:
        for _ in predict_files(classifier, paths):
            pass

    result = by_turns({"loop": loop, "predict": stream}, repeats)
    fastest = {name: min(values) for name, values in result["seconds"].items()}
    return {
        "pictures": len(paths), **result, "loop_over_predict": ratio(result, "loop", "predict"),
        "loop_over_predict_of_the_fastest": round(fastest["loop"] / fastest["predict"], 2),
        "pictures_per_s": round(len(paths) / result["median_s"]["predict"], 1),
    }  # fmt: skip


def by_turns(ways: dict[str, Callable[[], Any]], repeats: int, inner: int = 1) -> dict[str, Any]:
    """Return the seconds of each way and of the CPU, after one run of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    of_cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started_s, cpu_s = time.perf_counter(), time.process_time()
            for _ in range(inner):
                way()
            if turn:
                seconds[name].append(round((time.perf_counter() - started_s) / inner, 6))
                of_cpu[name].append(round((time.process_time() - cpu_s) / inner, 6))
    return {
        "seconds": seconds, "median_s": {name: statistics.median(values) for name, values in seconds.items()},
        "median_cpu_s": {name: statistics.median(values) for name, values in of_cpu.items()},
    }  # fmt: skip


def ratio(result: dict[str, Any], slow: str, fast: str) -> float:
    """Return how many times as long one way took as the other."""
    return round(result["median_s"][slow] / result["median_s"][fast], 2)


_CHILD = """
import sys
from cli.main import main
sys.argv = ["study", "predict", *sys.argv[1:]]
try:
    main()
finally:
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(int(peak) // 1024, file=sys.stderr)
"""


def memory(bundle: Path, faces: Path, count: int, folder: Path) -> dict[str, Any]:
    """Return the most resident memory of `study predict` on many files, in MiB."""
    folder.mkdir()
    sources = [path.read_bytes() for path in sorted(faces.iterdir())]
    for at in range(count):
        (folder / f"{at:06d}.jpg").write_bytes(sources[at % len(sources)])
    started_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, bundle.resolve(), folder, "--csv"], capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == count + 1
    return {
        "files": count, "resident_mib": int(done.stderr.split()[-1]),
        "seconds": round(time.perf_counter() - started_s, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()

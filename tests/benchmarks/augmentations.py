"""How fast is an augmentation of which each image has its own numbers: ours, kornia's, torchvision's in a loop.

torchvision's v2 transforms draw once for a whole batch, so a loop over the images is its only way to do the same work;
they resample at every step, as kornia's do. All take turns in one process with one thread; the figures are medians
of CPU time, and a training step of a ResNet-18 in float32 takes its turn as well. Nothing here is collected by pytest.

    .venv/bin/python tests/benchmarks/augmentations.py --rounds 15 --out results/reference/augmentations.json

kornia is no dependency; without it its column is left out. To have it: pip install --target DIR --no-deps kornia
kornia_rs, and PYTHONPATH=DIR.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from machine import busy_cores, commit_of, describe_machine
from torch.nn import functional
from torchvision.models import resnet18
from torchvision.transforms import InterpolationMode, v2

from study.training.augmentation.pipeline import build_augmenter

AUGMENTATION = "flip+rotate(15)+crop(0.7)+colour(0.3)"
OTHERS = ("flip", "rotate(15)", "colour(0.3)", "blur(1)", "erase", "mixup", "cutmix", "trivial", "strong")
WARM_UP = 2
STEP_SIZE_PX = 64
LARGEST_KEPT_BYTES = 32 * 2**20

Way = Callable[[torch.Tensor], object]


def ours(text: str, labels: torch.Tensor, layout: torch.memory_format = torch.contiguous_format) -> Way:
    """Return what a trial does."""
    augment, generator = build_augmenter(text), torch.Generator().manual_seed(0)
    targets = functional.one_hot(labels, 2).float()

    def run(images: torch.Tensor) -> object:
        return augment(images.contiguous(memory_format=layout), targets, generator)

    return run


def torchvision_loop(size_px: int) -> Way:
    """Return torchvision's transforms, drawn for one image at a time."""
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(15.0, InterpolationMode.BILINEAR),
            v2.RandomResizedCrop(size_px, (0.7, 1.0), antialias=False),
            v2.ColorJitter(0.3, 0.3, 0.3),
        ]
    )
    return lambda images: torch.stack([transform(image) for image in images])


def kornia_batch(size_px: int) -> Way | None:
    """Return kornia's transforms, which draw for each image of a batch, or None without kornia."""
    try:
        kornia = importlib.import_module("kornia.augmentation")
    except ModuleNotFoundError:
        print("kornia is not installed: its column is left out")
        return None
    return kornia.AugmentationSequential(  # type: ignore[no-any-return]
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.RandomRotation(15.0, p=1.0, align_corners=False),
        kornia.RandomResizedCrop((size_px, size_px), (0.7, 1.0), p=1.0, align_corners=False),
        kornia.ColorJitter(0.3, 0.3, 0.3, 0.0, p=1.0),
        data_keys=["input"],
    )


def training_step(labels: torch.Tensor) -> Way:
    """Return one step of a plain ResNet-18 in float32."""
    model = resnet18(num_classes=1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def run(images: torch.Tensor) -> object:
        loss = functional.binary_cross_entropy_with_logits(model(images).squeeze(1), labels.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def ways_for(size_px: int, labels: torch.Tensor) -> dict[str, Way]:
    """Return everything that is measured at a size."""
    ways: dict[str, Way | None] = {
        "ours": ours(AUGMENTATION, labels),
        "ours, channels_last": ours(AUGMENTATION, labels, torch.channels_last),
        "kornia": kornia_batch(size_px),
        "torchvision v2, loop": torchvision_loop(size_px),
        "ResNet-18 step": training_step(labels) if size_px == STEP_SIZE_PX else None,
    }
    ways |= {f"ours: {text}": ours(text, labels) for text in OTHERS}
    return {name: way for name, way in ways.items() if way}


def measure(size_px: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Let all ways take turns; return the figures of each, ratios to torchvision's loop."""
    torch.manual_seed(0)
    images, labels = torch.rand(batch_size, 3, size_px, size_px), torch.randint(2, (batch_size,))
    ways = ways_for(size_px, labels)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP + rounds):
        for name, way in ways.items():
            started = time.process_time()
            way(images)
            if turn >= WARM_UP:
                seconds[name].append(time.process_time() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        name: {
            "ms_per_batch": round(at * 1e3, 2),
            "quartiles_ms": [round(value * 1e3, 2) for value in statistics.quantiles(seconds[name], n=4)[::2]],
            "images_per_s": round(batch_size / at),
            "times_torchvision": round(median["torchvision v2, loop"] / at, 2),
            "share_of_step": round(at / median["ResNet-18 step"], 4) if "ResNet-18 step" in median else None,
        }
        for name, at in median.items()
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = []
    for size_px, figures in result["sizes"].items():
        lines.append(f"{size_px} px, {AUGMENTATION}, one thread")
        for name, figure in figures.items():
            share = "" if figure["share_of_step"] is None else f", {figure['share_of_step']:.1%} of a ResNet-18 step"
            lines.append(
                f"  {name:22} {figure['ms_per_batch']:8.2f} ms, {figure['images_per_s']:7d} images/s of CPU time, "
                f"{figure['times_torchvision']:6.2f} x torchvision{share}"
            )
    return "\n".join(lines)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size-px", type=int, nargs="+", default=[64, 112])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15, help="at least 2")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    # glibc keeps freed memory up to the largest size seen: in training that of a layer, here that of a batch.
    torch.empty(LARGEST_KEPT_BYTES - 2**20, dtype=torch.uint8)
    result: dict[str, Any] = {
        "machine": {**describe_machine(), "kornia": _kornia_version()},
        "commit": commit_of(Path(__file__).parent),
        "augmentation": AUGMENTATION,
        "batch_size": asked.batch_size,
        "threads": 1,
        "rounds": asked.rounds,
        "busy_cores_before": round(busy_cores(), 2),
        "sizes": {str(size): measure(size, asked.batch_size, asked.rounds) for size in asked.image_size_px},
    }
    print(table(result))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


def _kornia_version() -> str:
    try:
        return version("kornia")
    except ModuleNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()

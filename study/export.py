"""Turn a checkpoint into a folder somebody can deploy, loaded again and compared before it is called done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.errors import ExportError
from study.layout import write_atomic, write_text_atomic
from study.training.batches import DeviceImages
from study.training.checkpoint import WEIGHTS, CheckpointCard, load_scores, load_weights, read_card
from study.training.metrics import roc_auc, sigmoid
from study.training.models import build_model
from study.training.network import place, predict

CONFIG, CARD = "config.json", "README.md"
THRESHOLD = 0.5
# Of scores in [0, 1]: bf16 has 8 bits of mantissa, and the check may run on other hardware than the training.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-3, "bf16": 5e-2}
# A GPU sums in another order, and its fp32 convolutions round their inputs to TF32: single scores near 0.5 move more.
OTHER_DEVICE_TOLERANCE = 0.2


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from; ``candidates`` is how many checkpoints it was chosen among."""

    study: str
    study_id: str
    trial: int
    run_id: str | None
    ranked_by: str
    candidates: int


@dataclass(frozen=True)
class Exported:
    """A finished bundle."""

    files: tuple[Path, ...]
    max_score_difference: float


@dataclass(frozen=True)
class Bundle:
    """A bundle as it is used: scores images."""

    model: nn.Module
    config: Mapping[str, Any]

    def scores(self, images: NDArray[np.uint8], precision: str = "fp32") -> NDArray[np.float64]:
        """Return the score of the positive class, in [0, 1], for each image.

        Args:
            images: [N, S, S, 3] RGB, S as in the configuration.
            precision: fp32, or bf16 to compute as a trial on fast hardware did.
        """
        size = self.config["preprocessing"]["image_size_px"]
        if images.shape[1:] != (size, size, 3):
            raise ExportError(f"images must be [N, {size}, {size}, 3], but are {list(images.shape)}")
        device = torch.device("cpu")
        network = place(self.model, device, precision, channels_last=True)
        return sigmoid(predict(network, DeviceImages(images, np.zeros(len(images), dtype=np.int64), device)))


def refuse_occupied(out: Path) -> None:
    """Make sure that a bundle can be written.

    Raises:
        ExportError: the folder holds something already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"a bundle's folder must be new or empty, but {out} is not; name another with --out")


def export_checkpoint(
    checkpoint: Path, out: Path, validation_images: NDArray[np.uint8], origin: Provenance
) -> Exported:
    """Write the bundle of a selected checkpoint.

    Args:
        checkpoint: the checkpoint's folder.
        out: a new or empty folder.
        validation_images: [M, S, S, 3], those the checkpoint was selected on, in the same order.
        origin: where it comes from.

    Raises:
        ExportError: the folder is not empty or cannot be written, the checkpoint cannot be read, or the bundle does
            not give its scores.
    """
    out = out.resolve()  # "." has no name to put a sibling beside
    refuse_occupied(out)
    try:
        card = read_card(checkpoint)
        scores, labels = load_scores(checkpoint)
        weights = (checkpoint / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read the checkpoint in {checkpoint}: {error}") from error
    staging = out.with_name(f".{out.name}.part")
    config = bundle_config(card, origin)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        write_atomic(staging / WEIGHTS, lambda file: file.write(weights))
        write_text_atomic(staging / CONFIG, json.dumps(config, indent=2) + "\n")
        difference = _check(load_bundle(staging), card, scores, labels, validation_images)
        write_text_atomic(staging / CARD, _readme(config, difference, len(labels)))
        if out.exists():
            out.rmdir()
        os.replace(staging, out)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(tuple(sorted(out.iterdir())), difference)


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle to use it.

    Raises:
        ExportError: it is not a bundle, or its weights do not fit its architecture.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = build_model(config["architecture"]["depth"])
        model.load_state_dict(load_weights(folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(f"{folder} must hold a whole bundle, but cannot be loaded: {error}") from error
    return Bundle(model.to(memory_format=torch.channels_last).eval(), config)


def bundle_config(card: CheckpointCard, origin: Provenance) -> dict[str, Any]:
    """Return all that is needed to use and to trace a model."""
    return {
        "format": 1,
        "architecture": {"family": "resnet", "depth": card.depth, "outputs": 1, "input": "float32 [N, 3, S, S], RGB"},
        "preprocessing": dict(card.preprocessing),
        "classes": list(card.classes),
        "positive_class": card.classes[1],
        "threshold": THRESHOLD,
        "metrics": dict(card.metrics),
        "provenance": {
            **asdict(origin),
            "epoch": card.epoch,
            "hyperparameters": dict(card.config),
            "precision": card.precision,
            "data_fingerprint": card.data_fingerprint,
        },
    }


def _check(
    bundle: Bundle,
    card: CheckpointCard,
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    images: NDArray[np.uint8],
) -> float:
    again = bundle.scores(images, card.precision)
    if len(again) != len(scores):
        raise ExportError(
            f"the checkpoint was scored on {len(scores)} validation images, but there are {len(again)} now"
        )
    difference = float(np.abs(again - scores).max())
    tolerance = TOLERANCES[card.precision] if card.device == "cpu" else OTHER_DEVICE_TOLERANCE
    if not difference <= tolerance:  # NaN is no match either
        raise ExportError(
            f"a bundle must give its checkpoint's scores within {tolerance:g}, but one differs by "
            f"{difference:.3g} (AUC {roc_auc(again, labels):.5f} against {roc_auc(scores, labels):.5f}); "
            "the checkpoint is damaged, nothing was written"
        )
    return difference


def _readme(config: Mapping[str, Any], difference: float, images: int) -> str:
    origin, metrics = config["provenance"], config["metrics"]
    shown = "\n".join(f"| {key} | {value:.5g} |" for key, value in metrics.items() if key.startswith("val_"))
    steps = config["preprocessing"]
    return f"""# {origin["study"]}, trial {origin["trial"]}

A ResNet-{config["architecture"]["depth"]} that tells `{config["classes"][0]}` from `{config["classes"][1]}`.
Chosen among {origin["candidates"]} checkpoints by {origin["ranked_by"]} on the validation images: expect a little less
on new ones, and measure on photographs of your own before you rely on it.

| metric | value |
|---|---|
{shown}

Input: RGB, {steps["resize"]} to {steps["image_size_px"]} px, divided by 255, minus mean {steps["mean"]}, divided by
{steps["std"]}. Output: one logit; its sigmoid is the score of `{config["positive_class"]}`;
above {config["threshold"]} means yes.

```python
from pathlib import Path

from study.data import decode_image
from study.export import load_bundle

bundle = load_bundle(Path("."))
print(bundle.scores(decode_image(Path("photo.jpg"), {steps["image_size_px"]})[None]))
```

Without this package: the state dict is that of torchvision's `ResNet` with one output (depth 10 is
`ResNet(BasicBlock, [1, 1, 1, 1], num_classes=1)`). Pictures are turned as EXIF says, laid on white where transparent,
shrunk with Lanczos or grown with bicubic filtering, and cut to the central square.

| file | holds |
|---|---|
| model.safetensors | float32 weights, named as in torchvision |
| config.json | architecture, preprocessing, classes, threshold, metrics, provenance |

Loaded again after writing: the scores of {images} validation images differ by at most {difference:.2g}.
Data fingerprint {origin["data_fingerprint"][:16]}, MLflow run {origin["run_id"] or "not sent"}.
"""

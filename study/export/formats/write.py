"""Write the graphs of a classifier into a bundle's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from study.bundles.bundle_config import BundleConfig
from study.bundles.bundle_files import GRAPH, ONNX_MODEL
from study.errors import ExportError
from study.export.formats.classifier_graph import CalibratedModule, capture_graph, save_graph
from study.export.formats.onnx_export import calibration_images, half_model, quantize, write_onnx


def write_models(
    model: nn.Module,
    config: BundleConfig,
    folder: Path,
    precisions: Mapping[str, str],
    training_images: NDArray[np.uint8] | None = None,
) -> None:
    """Write the graphs of a model; one captured program feeds all that compute in float32.

    Args:
        model: maps normalized images to logits.
        config: of the bundle.
        folder: where to.
        precisions: by format, ``onnx`` and ``pt2``.
        training_images: [N, S, S, 3], for int8.

    Raises:
        ExportError: int8 is asked for without images.
    """
    onnx = precisions.get("onnx")
    if onnx == "int8" and training_images is None:
        raise ExportError("int8 needs the study's pictures to measure ranges on; --data DIR names where they are")
    if onnx is None and "pt2" not in precisions:
        return
    size, steps = config.image_size_px, config.preprocessing
    program = capture_graph(CalibratedModule(model, steps, config.temperature), size)
    if "pt2" in precisions:
        save_graph(program, folder / GRAPH)
    if onnx is None:
        return
    if onnx == "fp16":
        program = capture_graph(CalibratedModule(half_model(model), steps, config.temperature), size)
    write_onnx(program, config, folder / ONNX_MODEL)
    if onnx == "int8":
        assert training_images is not None
        quantize(folder / ONNX_MODEL, calibration_images(training_images), config, folder / ONNX_MODEL)

"""Write a captured classifier as one ONNX file, in float32, float16 or int8."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from study.bundles.bundle_config import BundleConfig
from study.bundles.onnx_classifier import AGREED, INPUT, LOGITS, PROBABILITY
from study.errors import ExportError

Precision = Literal["fp32", "fp16", "int8"]
OPSET = 18
"""The lowest that torch's exporter writes; a lower one becomes this without a word."""
CALIBRATION_IMAGES = 256
_BATCH = 32
_QUANTIZED = ["Conv", "Gemm", "MatMul"]


def write_onnx(program: torch.export.ExportedProgram, config: BundleConfig, file: Path) -> None:
    """Write a captured classifier, which maps uint8 images to logits and probabilities, in float32.

    Args:
        program: of a ``CalibratedModule``.
        config: of the bundle; what the model must agree with goes into its metadata.
        file: where to.
    """
    with _quiet(), tempfile.TemporaryDirectory(prefix="study-onnx-") as scratch:
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[LOGITS, PROBABILITY],
            verbose=False,
        )  # fmt: skip
        assert exported is not None
        plain = Path(scratch) / file.name
        exported.save(str(plain), external_data=False)
        model = onnx.load_model(plain, load_external_data=False)
    _name_batch(model)
    _finish(model, config, file)


def quantize(source: Path, images: NDArray[np.uint8], config: BundleConfig, file: Path) -> None:
    """Write an int8 form of a float32 model.

    Only convolutions and linear layers are quantized, each channel by its own scale, and not the last layer, which is
    small and would round the logits. Weights take 7 bit, because
    processors without VNNI add two products of 8 bit into 16, which then saturates.

    Args:
        source: what ``write_onnx`` wrote.
        images: [N, S, S, 3], such as the network was trained on; the ranges of activations are measured on them.
        config: of the bundle.
        file: where to.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter([images[start : start + _BATCH] for start in range(0, len(images), _BATCH)])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    with _quiet(), tempfile.TemporaryDirectory(prefix="study-onnx-") as scratch:
        prepared, plain = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load_model(prepared, load_external_data=False).graph.node
        last = [node.name for node in nodes if node.op_type in _QUANTIZED][-1:]
        quantize_static(
            str(prepared), str(plain), Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=_QUANTIZED,
            nodes_to_exclude=last,
            per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        model = onnx.load_model(plain, load_external_data=False)
    _finish(model, config, file)


def calibration_images(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images spread evenly over those given, as many as ranges are measured on."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).astype(np.int64)
    return images[chosen]


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the one open dimension `batch` in inputs and outputs."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _finish(model: onnx.ModelProto, config: BundleConfig, file: Path) -> None:
    """Write a model with the configuration in its metadata, and nothing about where it was made."""
    for message in (model.graph, *model.graph.node, *model.functions):
        message.doc_string = ""
        del message.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = ""
    onnx.helper.set_model_props(model, {AGREED: json.dumps(config.fingerprint)})
    onnx.checker.check_model(model)
    try:
        file.write_bytes(model.SerializeToString(deterministic=True))
    except ValueError as error:
        raise ExportError(f"an ONNX file holds 2 GB at most, but this model is larger: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' chatter off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root", "")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def half_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a model that computes in float16, from and to float32."""
    return _Half(copy.deepcopy(model).half())


class _Half(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixels.half())
        return logits.float()

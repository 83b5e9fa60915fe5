"""Export a checkpoint as a `torch.export` graph from pixels to scores, which needs torch alone."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.errors import ExportError
from study.export.bundle import Bundle
from study.export.formats.classifier_graph import ScoringModule, capture_graph, save_graph
from study.export.pyfunc import load_checkpoint

# Two graphs of the same float32 operations differ in the order of a sum at most.
TOLERANCE = 1e-4
_IMAGES = 3  # another number than the graph was captured with


def export_graph(checkpoint: Path, file: Path) -> str:
    """Write the graph of a checkpoint as a ``.pt2`` archive, loaded again and compared with the checkpoint.

    Returns:
        The version of torch that wrote it.

    Raises:
        ExportError: the checkpoint cannot be loaded, the file cannot be written, or the graph gives other scores.
    """
    bundle = load_checkpoint(checkpoint)
    size = bundle.preprocessing["image_size_px"]
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), dtype=np.uint8)
    part = file.with_name(f".part-{file.name}")
    try:
        save_graph(capture_graph(ScoringModule(bundle.model, bundle.preprocessing), size), part)
        _compare(part, bundle, images)
        os.replace(part, file)
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write the graph of {checkpoint} to {file}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return str(torch.__version__)


def _compare(file: Path, bundle: Bundle, images: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = torch.export.load(file).module()(torch.from_numpy(images)).numpy()
    difference = float(np.abs(again - bundle.scores(images)).max())
    if not difference <= TOLERANCE:  # so that NaN fails too
        raise ExportError(f"a graph must give its checkpoint's scores, but one differs by {difference:.3g}")

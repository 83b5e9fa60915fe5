"""Write the small files that make a folder an MLflow model; pure text."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MLMODEL = "MLmodel"
CHECKPOINT_FOLDER, GRAPH_FOLDER = "checkpoint", "data"
GRAPH_FILE = "model.pt2"
PLAIN, WITH_GRAPH = "python_function", "python_function, pytorch"
_REQUIREMENTS, _CONDA, _PYTHON = "requirements.txt", "conda.yaml", "python_env.yaml"
_PLAIN_NEEDS = ("mlflow", "numpy", "ray-study", "safetensors", "torch", "torchvision")
_TIMM_NEEDS = ("timm",)
_GRAPH_NEEDS = ("mlflow", "numpy", "torch")


@dataclass(frozen=True)
class ModelDescription:
    """What an MLflow model says of itself besides how it is loaded.

    ``card`` is the stored form of the checkpoint's card; ``packages`` are versions by name; ``torch`` is the version
    that wrote the graph, None where there is none.
    """

    model_id: str
    run_id: str
    location: str
    card: Mapping[str, Any]
    packages: Mapping[str, str]
    at_s: float
    bytes: int
    torch: str | None = None


def model_files(model: ModelDescription) -> dict[str, str]:
    """Return every small file by name, the one that makes it a model last."""
    needs = _GRAPH_NEEDS if model.torch else _PLAIN_NEEDS + _timm(model.card)
    pinned = [f"{name}=={model.packages[name].partition('+')[0]}" for name in needs if name in model.packages]
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": pinned}],
    }
    python = {
        "python": platform.python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": [f"-r {_REQUIREMENTS}"],
    }
    return {
        _REQUIREMENTS: "\n".join(pinned) + "\n",
        _CONDA: _yaml(conda),
        _PYTHON: _yaml(python),
        MLMODEL: _yaml(_mlmodel(model)),
    }


def _mlmodel(model: ModelDescription) -> dict[str, Any]:
    card = model.card
    size, classes = card["preprocessing"]["image_size_px"], list(card["classes"])
    scores = [-1] if len(classes) == 2 else [-1, len(classes)]
    return {
        "artifact_path": model.location,
        "flavors": _flavors(model),
        "metadata": {
            "classes": classes,
            "positive_class": classes[1] if len(classes) == 2 else None,
            "input": f"uint8 RGB [N, {size}, {size}, 3], 0 to 255; {card['preprocessing'].get('resize', 'square')}",
            "output": "scores in [0, 1], of the positive class or of every class in order",
            "epoch": card["epoch"],
            "precision": f"float32; its trial computed in {card.get('precision', 'fp32')}",
        },
        "mlflow_version": model.packages.get("mlflow"),
        "model_id": model.model_id,
        "model_size_bytes": model.bytes,
        "model_uuid": model.model_id,
        "prompts": None,
        "run_id": model.run_id,
        "signature": {
            "inputs": _tensor("uint8", [-1, size, size, 3]),
            "outputs": _tensor("float32", scores),
            "params": None,
        },
        "utc_time_created": datetime.fromtimestamp(model.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _flavors(model: ModelDescription) -> dict[str, Any]:
    environment = {"env": {"conda": _CONDA, "virtualenv": _PYTHON}, "python_version": platform.python_version()}
    if model.torch is None:
        return {
            "python_function": {"loader_module": "study.export.pyfunc", "data": CHECKPOINT_FOLDER, **environment},
        }
    return {
        # MLflow refuses to move a graph to the GPU it would choose by itself where there is one.
        "python_function": {
            "loader_module": "mlflow.pytorch", "data": GRAPH_FOLDER, "model_config": {"device": "cpu"}, **environment,
        },
        "pytorch": {"model_data": GRAPH_FOLDER, "pytorch_version": model.torch, "code": None},
    }  # fmt: skip


def _timm(card: Mapping[str, Any]) -> tuple[str, ...]:
    return _TIMM_NEEDS if card.get("config", {}).get("family") == "resnet_v2" else ()


def _tensor(kind: str, shape: list[int]) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": kind, "shape": shape}}])


def _yaml(content: object) -> str:
    """Return a text that YAML's readers take: JSON is YAML too."""
    return json.dumps(content, indent=2) + "\n"

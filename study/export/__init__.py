"""Turn a checkpoint into a folder somebody can deploy, and score images with it."""

from study.export.bundle import (
    Bundle,
    Exported,
    FinalScores,
    Provenance,
    export_checkpoint,
    load_bundle,
    refuse_occupied,
)
from study.export.torch_export import export_graph

__all__ = [
    "Bundle", "Exported", "FinalScores", "Provenance", "export_checkpoint", "export_graph", "load_bundle",
    "refuse_occupied",
]  # fmt: skip

"""Turn a checkpoint into a folder somebody can deploy, and score images with it."""

from study.export.bundle import Bundle, load_bundle
from study.export.graph import export_graph
from study.export.writing import Exported, FinalScores, Provenance, export_checkpoint, refuse_occupied

__all__ = [
    "Bundle", "Exported", "FinalScores", "Provenance", "export_checkpoint", "export_graph", "load_bundle",
    "refuse_occupied",
]  # fmt: skip

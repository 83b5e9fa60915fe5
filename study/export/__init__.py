"""Turn a checkpoint into a folder somebody can deploy, and score images with it."""

from study.export.bundle import Bundle, load_bundle
from study.export.writing import Exported, FinalScores, Provenance, export_checkpoint, refuse_occupied

__all__ = ["Bundle", "Exported", "FinalScores", "Provenance", "export_checkpoint", "load_bundle", "refuse_occupied"]

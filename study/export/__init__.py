"""Export a checkpoint as a folder to deploy or as a torch graph, and score images with it."""

from study.export.bundle import Bundle, load_bundle
from study.export.checkpoint_export import ExportResult, export_checkpoint, require_empty_folder
from study.export.export_request import (
    ExportOptions,
    FinalScores,
    Provenance,
    ScoredSet,
    Selection,
    StudyFacts,
    parse_formats,
    parse_precision,
)
from study.export.torch_export import export_graph

__all__ = [
    "Bundle", "ExportOptions", "ExportResult", "FinalScores", "Provenance", "ScoredSet", "Selection", "StudyFacts",
    "export_checkpoint", "export_graph", "load_bundle", "parse_formats", "parse_precision", "require_empty_folder",
]  # fmt: skip

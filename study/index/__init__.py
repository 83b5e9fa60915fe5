"""Read a study's ledger without Optuna: from an index beside it and what was appended since, or all of it."""

from study.index.reading import StudyView, read_epochs, read_study, refresh

__all__ = ["StudyView", "read_epochs", "read_study", "refresh"]

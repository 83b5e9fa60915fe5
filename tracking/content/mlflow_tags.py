"""The tags by which MLflow's own pages know things and for which its client has no function.

Private to MLflow, as of version 3.17, are ``VIEW_PREFIX``, ``LOGGED_ARTIFACTS`` and the experiment's kind.
"""

from __future__ import annotations

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
USER = "mlflow.user"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
GIT_COMMIT = "mlflow.source.git.commit"
DATA_CONTEXT = "mlflow.data.context"
VIEW_PREFIX = "mlflow.sharedViewState."
"""Of an experiment: a saved view of its table of runs, by a key."""
LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"
"""Of a run: which of its artifacts are tables."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Of an experiment: that its pages are those of training, not of language models."""

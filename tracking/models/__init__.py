"""Checkpoints as logged models and registered models in MLflow."""

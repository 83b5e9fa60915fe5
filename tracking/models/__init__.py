"""Checkpoints as MLflow's logged and registered models."""

"""The client for MLflow: requests, their errors, artifacts, and checks before a study starts."""

"""The one door to MLflow: what it takes, what it refuses, and whether it can be used at all."""

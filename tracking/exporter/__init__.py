"""Export of the outbox to MLflow, in the background and idempotent."""

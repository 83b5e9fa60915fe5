"""Everything that uses MLflow: outbox, exporter, client, reader, models and user interface."""

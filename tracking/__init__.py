"""MLflow's only home: outbox, mirror, query, provenance, UI server."""

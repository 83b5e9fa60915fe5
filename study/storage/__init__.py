"""The durable state of a study: its trials, attributes and queue, kept through Optuna's storage."""

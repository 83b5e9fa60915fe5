"""Ray cluster, Tune adapters and the trainable."""

"""Run a study on Ray: prepare it, hand out trials, retry and stop them, keep their checkpoints."""

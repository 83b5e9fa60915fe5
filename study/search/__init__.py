"""What to try and what to stop: search space, samplers, pruners."""

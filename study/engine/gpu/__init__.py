"""GPU memory: measured before a study, and shared by several trials."""

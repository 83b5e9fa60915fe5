"""MLflow's own pages, for `study ui`."""

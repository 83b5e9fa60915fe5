"""MLflow's user interface: a server started by `study ui`, and links to its pages."""

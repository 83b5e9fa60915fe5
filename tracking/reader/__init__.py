"""Read studies and trials back from an MLflow server or database."""

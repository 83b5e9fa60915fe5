"""Pure functions from trial records to answers: ranking, Pareto front, significance, filters."""

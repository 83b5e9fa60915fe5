"""Pure functions from trial records to answers: ranking, Pareto front, verdict, filters."""

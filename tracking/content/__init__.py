"""What MLflow shows of a study: names of runs, tags, params, metrics, description, leaderboard, views; pure."""

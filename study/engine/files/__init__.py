"""Files of a running study: checkpoints, their retention, the working directory."""

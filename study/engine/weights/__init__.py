"""Initial weights that trials share, fetched or trained once before the trials start."""

"""Initial weights that several trials share, made once before they start."""

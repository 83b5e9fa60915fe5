"""The write-ahead log of a study's events and the state folded from it."""

"""Trials as they are stored and followed: serialization, index, queue."""

"""Trials as they are stored and followed: serialization, listener, queue."""

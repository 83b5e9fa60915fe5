"""Frozen parts of a network: their features computed once, their weights written once."""

"""The formats of a model: how each is written, and checked in a fresh process."""

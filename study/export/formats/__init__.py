"""The formats of a model: how each is written, and checked in a process of its own."""

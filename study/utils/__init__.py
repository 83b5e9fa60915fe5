"""Utilities: git, network addresses, remote files."""

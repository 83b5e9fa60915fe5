"""Helpers without knowledge of studies: git, network, remote files."""

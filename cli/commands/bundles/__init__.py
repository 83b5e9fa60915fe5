"""Commands that make and use bundles."""

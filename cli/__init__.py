"""The command line: parses, makes one call, renders."""

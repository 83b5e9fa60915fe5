"""Commands that answer a question about finished runs."""

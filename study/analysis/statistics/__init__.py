"""Errors of metrics that images and seeds cause, and what can be said in spite of them."""

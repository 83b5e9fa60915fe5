"""Photographs: find faces, cut them out in a framing, draw masks on them."""

"""Studies as a server has them."""

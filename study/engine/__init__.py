"""Ray's only home: places trials, listens to them, retries and stops them."""

"""A bundle at work: predictions of many files, the metrics of labelled ones, and a service over HTTP."""

"""A Ray-distributed hyperparameter study and experiment tracker."""

"""The typed form of a study file: data, training, search, hyperparameters."""

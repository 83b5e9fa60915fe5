"""The ResNet training function: plain torch, no Ray, Optuna or MLflow."""

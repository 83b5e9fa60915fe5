"""The fixed list of trials that both ways of the wall-clock comparison run; plain data."""

from typing import Any

# Three step sizes for each optimizer: about right, cautious and bold. Momentum exists for SGD alone.
POINTS: list[dict[str, Any]] = [
    {"depth": 18, "optimizer": "adam", "learning_rate": 1e-3},
    {"depth": 18, "optimizer": "adam", "learning_rate": 3e-4},
    {"depth": 18, "optimizer": "adam", "learning_rate": 3e-3},
    {"depth": 18, "optimizer": "sgd", "learning_rate": 0.03, "momentum": 0.9},
    {"depth": 18, "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    {"depth": 18, "optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.0},
]

IMAGE_SIZE_PX = 64
BATCH_SIZE = 64

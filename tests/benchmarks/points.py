"""The fixed list of trials that both ways of a wall-clock comparison run; plain data."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Job:
    """Trials and what they have in common."""

    points: list[dict[str, Any]]
    image_size_px: int
    batch_size: int

    def write(self, file: Path) -> None:
        """Write the job for `--job`."""
        file.write_text(json.dumps(asdict(self)))


def read_job(file: Path | None, limit: int | None) -> Job:
    """Return the job of a file, or the six points above; the first so many points of it."""
    job = Job(POINTS, IMAGE_SIZE_PX, BATCH_SIZE) if file is None else Job(**json.loads(file.read_text()))
    return Job(job.points[:limit], job.image_size_px, job.batch_size)

"""Call the command line as a user does: in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = """\
name: tiny
data: {source: faces, image_size_px: 24, count: 80}
trial: {depth: 10, max_epochs: 2, batch_size: 16}
space:
  optimizer:     {choice: [sgd, adam]}
  momentum:      {uniform: [0.0, 0.9], when: {optimizer: sgd}}
  learning_rate: {loguniform: [1e-3, 1e-2]}
search: {sampler: tpe, trials: 3, seed: 0, pruner: none}
resources: {cpus_per_trial: 1, gpus_per_trial: 0}
"""


def study(*arguments: object, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return what it printed."""
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)

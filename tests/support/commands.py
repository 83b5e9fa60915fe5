"""Call the command line as a user does: in a process of its own."""

from __future__ import annotations

import ctypes
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


def study(*arguments: object, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return what it printed."""
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)


def study_without_root_rights(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command without root's privilege to write what nobody may write."""
    drop_capability, may_write_all = 24, 1  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
    libc = ctypes.CDLL(None)
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=600,
        preexec_fn=lambda: libc.prctl(drop_capability, may_write_all),  # in vain for others, and not needed
    )

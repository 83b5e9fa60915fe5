"""Call the command line: in this process, which saves its imports, or in one of its own, as a user does."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import typer.main
from typer.testing import CliRunner, Result

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
resources: {cpus_per_trial: 1, gpus_per_trial: 0, max_concurrent_trials: 1}
"""

ONLY_WEIGHTS = ("--formats", "safetensors")
"""For `export-best`, where the other formats of a model are not the subject and would take long."""

_get_command = functools.cache(typer.main.get_command)
"""Typer makes the tree of all commands anew for each call, which takes longer than most calls."""


def study(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one command in this process to its end and return what it printed.

    A study that it runs joins the cluster of the fixture ``shared_cluster``, where that is used.
    """
    from cli.main import main

    command = ["study", *map(str, arguments)]
    with _redirected(1) as out, _redirected(2) as err, warnings.catch_warnings(), contextlib.chdir(ROOT):
        warnings.simplefilter("ignore")
        # A command that would go on in another process must be called in one.
        execve = mock.patch("os.execve", side_effect=AssertionError("use study_process"))
        tree = mock.patch("typer.main.get_command", _get_command)
        with mock.patch("sys.argv", command), execve, tree, mock.patch("cli.main.supervise"):
            try:
                code: Any = main()
            except SystemExit as end:
                code = end.code
    return subprocess.CompletedProcess(command, code or 0, out(), err())


def study_stdout(*arguments: object) -> str:
    """Run one command that must succeed and return what it printed."""
    done = study(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def study_json(*arguments: object) -> Any:
    """Run one command with ``--json`` that must succeed and return its answer."""
    return json.loads(study_stdout(*arguments, "--json"))


def study_error(*arguments: object, code: int = 1) -> str:
    """Run one command that must fail with ``code`` and return what it wrote to standard error."""
    done = study(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


# Log handlers keep the stream of the moment in which a library is imported, so that these two are never closed.
_STREAMS = {number: os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2)}


@contextlib.contextmanager
def _redirected(number: int) -> Iterator[Callable[[], str]]:
    """Redirect standard output (1) or error (2), file descriptor and stream; yield what returns all that came."""
    stream, saved, text = _STREAMS[number], os.dup(number), ""
    with tempfile.TemporaryFile() as file, mock.patch.object(sys, ("stdout", "stderr")[number - 1], stream):
        os.dup2(file.fileno(), number)
        try:
            yield lambda: text
        finally:
            stream.flush()
            os.dup2(saved, number)
            os.close(saved)
            file.seek(0)
            text = file.read().decode()


def invoke(*arguments: str, columns: int = 250) -> Result:
    """Run one command by its function alone, without `main`; what it raises is raised."""
    from cli.main import app

    with mock.patch("typer.testing._get_command", _get_command):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def study_process(*arguments: object, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Run one command in a process of its own to its end and return what it printed."""
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

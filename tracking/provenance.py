"""Say which code and which machine a study ran on."""

from __future__ import annotations

import getpass
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from study.git import ask_git

PACKAGES = (
    "ray-study",
    "ray",
    "optuna",
    "mlflow",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pydantic",
    "safetensors",
)


@dataclass(frozen=True)
class Provenance:
    """Code, packages and machine; ``commit`` and ``dirty`` are None outside a git repository."""

    commit: str | None
    dirty: bool | None
    host: str
    user: str
    python: str
    system: str
    packages: Mapping[str, str]


def collect_provenance(folder: Path | None = None) -> Provenance:
    """Look at the git repository of ``folder`` (default: the current one), the packages and the machine."""
    commit = ask_git(folder, "rev-parse", "HEAD")
    changes = None if commit is None else ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return Provenance(
        commit=commit,
        dirty=None if changes is None else bool(changes),
        host=socket.gethostname(),
        user=_user(),
        python=platform.python_version(),
        system=platform.platform(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

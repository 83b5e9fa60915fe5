"""The code, packages and machine that a study runs on."""

from __future__ import annotations

import getpass
import hashlib
import logging
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from study.files import write_atomic
from study.paths import StudyLayout
from study.utils.git import run_git, run_git_streamed

MAX_BYTES = 1_000_000
_DIGEST_CHARACTERS = 12
_MAX_UNTRACKED = 200
_DIFF = (
    "--no-optional-locks", "-c", "diff.relative=false",
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD",
)  # fmt: skip


def keep_diff(folder: Path | None, study: StudyLayout) -> str | None:
    """Write the changes since the last commit, staged or not; return their key for ``StudyLayout.code_diff``.

    Untracked files are listed at the top, in comments that ``git apply`` ignores. Where git fails there is no key.

    Raises:
        OSError: the file cannot be written.
    """
    diff = run_git_streamed(folder, *_DIFF, most_bytes=MAX_BYTES)
    if diff is None:
        return None
    note = f"\n# cut here: the changes are longer than {MAX_BYTES} bytes\n" if len(diff) == MAX_BYTES else ""
    text = _untracked(folder).encode() + diff + note.encode()
    digest = hashlib.sha256(text).hexdigest()[:_DIGEST_CHARACTERS]
    if not (file := study.code_diff(digest)).exists():
        write_atomic(file, lambda part: part.write(text))
    return digest


def _untracked(folder: Path | None) -> str:
    status = run_git(folder, "--no-optional-locks", "status", "--porcelain", "--untracked-files=normal") or ""
    names = [line.removeprefix("?? ") for line in status.splitlines() if line.startswith("?? ")]
    lines = [f"# not in git: {name}\n" for name in names[:_MAX_UNTRACKED]]
    if more := len(names) - len(lines):
        lines.append(f"# not in git: {more} more\n")
    return "".join(lines)


_log = logging.getLogger("tracking")
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
_COMMIT_CHARACTERS = 12


@dataclass(frozen=True)
class Provenance:
    """Code, packages and machine; ``commit`` and ``dirty`` are None outside a git repository.

    ``diff`` is the key of the file with the uncommitted changes, None where there are none; ``packages`` are those
    that affect results, ``installed`` are all of them.
    """

    commit: str | None
    dirty: bool | None
    host: str
    user: str
    python: str
    system: str
    packages: Mapping[str, str]
    diff: str | None = None
    installed: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        """The version of the code: the commit, and after a ``+`` the key of the uncommitted changes."""
        if self.commit is None:
            return None
        changed = f"+{self.diff or 'changes'}" if self.dirty else ""
        return self.commit[:_COMMIT_CHARACTERS] + changed


def collect_provenance(folder: Path | None = None, keep_in: StudyLayout | None = None) -> Provenance:
    """Return the state of a folder's git repository, the packages and the machine; never fails.

    ``keep_in`` is the study whose folder keeps the diff of changed code; without one there is no diff.
    """
    commit = run_git(folder, "rev-parse", "HEAD")
    changes = None if commit is None else run_git(folder, "status", "--porcelain", "--untracked-files=no")
    installed = _installed()
    return Provenance(
        commit=commit,
        dirty=None if changes is None else bool(changes),
        host=socket.gethostname(),
        user=_user(),
        python=platform.python_version(),
        system=platform.platform(),
        packages={name: installed[name] for name in PACKAGES if name in installed},
        diff=_kept_diff(folder, keep_in) if changes and keep_in is not None else None,
        installed=installed,
    )


def _kept_diff(folder: Path | None, study: StudyLayout) -> str | None:
    try:
        return keep_diff(folder, study)
    except OSError as exc:
        _log.warning("what the code differs from its commit by could not be kept in %s: %s", study.root, exc)
        return None


def _installed() -> dict[str, str]:
    distributions = ((entry.metadata["Name"], entry.version) for entry in metadata.distributions())
    return dict(sorted((name.lower(), version) for name, version in distributions if name))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"

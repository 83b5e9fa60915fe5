"""Keep what the code differs from its commit by, in the study's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from study.git import ask_git, ask_git_at_length
from study.layout import StudyLayout, write_atomic

MAX_BYTES = 1_000_000
_DIGEST_CHARACTERS = 12
_MOST_UNTRACKED = 200
_DIFF = (
    "--no-optional-locks", "-c", "diff.relative=false",
    "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD",
)  # fmt: skip


def keep_diff(folder: Path | None, study: StudyLayout) -> str | None:
    """Write the changes since the last commit, staged or not, and return the name they are kept by.

    Files that git does not follow are named at the head, as comments that ``git apply`` passes over.

    Args:
        folder: in the repository; None for the current one.
        study: whose folder keeps them.

    Returns:
        What ``StudyLayout.code_diff`` takes, None where git does not tell.

    Raises:
        OSError: the file cannot be written.
    """
    said = ask_git_at_length(folder, *_DIFF, most_bytes=MAX_BYTES)
    if said is None:
        return None
    note = f"\n# cut here: the changes are longer than {MAX_BYTES} bytes\n" if len(said) == MAX_BYTES else ""
    text = _untracked(folder).encode() + said + note.encode()
    digest = hashlib.sha256(text).hexdigest()[:_DIGEST_CHARACTERS]
    if not (file := study.code_diff(digest)).exists():
        write_atomic(file, lambda part: part.write(text))
    return digest


def _untracked(folder: Path | None) -> str:
    said = ask_git(folder, "--no-optional-locks", "status", "--porcelain", "--untracked-files=normal") or ""
    names = [line.removeprefix("?? ") for line in said.splitlines() if line.startswith("?? ")]
    lines = [f"# not in git: {name}\n" for name in names[:_MOST_UNTRACKED]]
    if more := len(names) - len(lines):
        lines.append(f"# not in git: {more} more\n")
    return "".join(lines)

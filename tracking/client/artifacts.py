"""Store files as artifacts of a run, by hard link where the artifacts are on the same file system."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import TrackingError
from study.files import write_atomic
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import RefusedError
from tracking.content.encoding import storable

CHECKPOINT = "checkpoint"
DIFF = "code.diff"
_MAX_SENT_CHARACTERS = 65_536


def store_folder(
    client: TrackingClient, run: Run, folder: Path, name: str = CHECKPOINT, *, without: tuple[str, ...] = ()
) -> None:
    """Make ``folder`` the artifact ``name`` of a run, but for files called as one of ``without``; idempotent.

    Raises:
        RefusedError: the folder does not exist.
        TrackingError: the store cannot be written.
    """
    if not folder.is_dir():
        raise RefusedError(f"A checkpoint to be kept must be a folder, but {folder} is not there")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in without)
    files = {path.relative_to(folder): path for path in paths}
    if (root := client.local_path(run.artifact_uri)) is None:
        for relative, path in files.items():  # one by one: a failure costs one file
            client.log_file(run.id, path, (name / relative.parent).as_posix())
        return
    with writing(name, f"run {run.id}"):
        for relative, path in files.items():
            client.local_path(run.artifact_uri, (Path(name) / relative).as_posix())
            link_file(path, root / name / relative)
        for path in list((root / name).rglob("*")):
            if path.is_file() and path.relative_to(root / name) not in files:
                path.unlink()


def store_file(client: TrackingClient, run: Run, file: Path, name: str | None = None) -> None:
    """Make ``file`` an artifact at the root of a run, of another name only on a local file system; idempotent.

    Raises:
        RefusedError: the file does not exist.
        TrackingError: the store cannot be written.
    """
    if not file.is_file():
        raise RefusedError(f"An artifact must be a file, but {file} is not there")
    if (target := client.local_path(run.artifact_uri, name or file.name)) is None:
        client.log_file(run.id, file)
        return
    with writing(file.name, f"run {run.id}"):
        link_file(file, target)


def store_text(client: TrackingClient, run: Run, text: str, name: str) -> None:
    """Make a text the artifact ``name`` at the root of a run; idempotent.

    Raises:
        TrackingError: the store cannot be written.
    """
    if (file := client.local_path(run.artifact_uri, name)) is None:
        client.log_text(run.id, name, text)
        return
    data = storable(text).encode()
    with writing(name, f"run {run.id}"):
        if not file.is_file() or file.read_bytes() != data:
            write_atomic(file, lambda part: part.write(data), sync=False)


def store_diff(client: TrackingClient, run: Run, file: Path) -> None:
    """Make the diff of the code an artifact of a trial's run; a long one is cut where it goes over a network.

    Raises:
        RefusedError: the file does not exist.
        TrackingError: the store cannot be written.
    """
    if client.local_path(run.artifact_uri) is not None or not file.is_file():
        store_file(client, run, file, DIFF)
        return
    text = file.read_bytes().decode(errors="replace")
    if len(text) > _MAX_SENT_CHARACTERS:
        text = f"{text[:_MAX_SENT_CHARACTERS]}\n# cut here: the study's run has all of it as {file.name}\n"
    client.log_text(run.id, DIFF, text)


@contextmanager
def writing(name: str, owner: str) -> Iterator[None]:
    """Raise what the disk refuses of an artifact of a run or a model as TrackingError."""
    try:
        yield
    except OSError as exc:
        raise TrackingError(f"The artifact {name} of {owner} cannot be written: {exc}") from exc


def link_file(source: Path, target: Path) -> None:
    """Put a file in place atomically: linked if the file system allows it, copied otherwise."""
    if target.exists() and os.path.samefile(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as scratch:
        part = Path(scratch) / target.name
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)
        os.replace(part, target)

"""Store files as artifacts of a run, by hard link where the artifacts are on the same file system."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from study.errors import TrackingError
from study.paths import write_atomic
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import RefusedError
from tracking.content.encoding import storable
from tracking.tracking_uri import local_path

CHECKPOINT = "checkpoint"
DIFF = "code.diff"
_MAX_SENT_CHARACTERS = 65_536


def store_folder(
    client: TrackingClient, run: Run, folder: Path, name: str = CHECKPOINT, *, without: tuple[str, ...] = ()
) -> None:
    """Make ``folder`` the artifact ``name`` of a run; doing it again changes nothing.

    Args:
        client: Where the run is.
        run: Whose artifact it becomes.
        folder: It holds files only.
        name: Of the artifact.
        without: Files to leave out.

    Raises:
        RefusedError: the folder does not exist.
        TrackingError: the store cannot be written.
    """
    if not folder.is_dir():
        raise RefusedError(f"A checkpoint to be kept must be a folder, but {folder} is not there")
    target = local_path(run.artifact_uri)
    if target is None:
        _upload_folder(client, run, folder, name, without)
        return
    try:
        _link_folder(folder, target / name, without)
    except OSError as exc:
        raise TrackingError(f"The artifact {name} of run {run.id} cannot be written: {exc}") from exc


def store_file(client: TrackingClient, run: Run, file: Path, name: str) -> None:
    """Make ``file`` the artifact ``name`` at the root of a run; doing it again changes nothing.

    Args:
        client: Where the run is.
        run: Whose artifact it becomes.
        file: It has that name already.
        name: Of the artifact.

    Raises:
        RefusedError: the file does not exist.
        TrackingError: the store cannot be written.
    """
    if not file.is_file():
        raise RefusedError(f"An artifact must be a file, but {file} is not there")
    target = local_path(run.artifact_uri)
    if target is None:
        client.log_file(run.id, file)
        return
    try:
        link_file(file, target / name)
    except OSError as exc:
        raise TrackingError(f"The artifact {name} of run {run.id} cannot be written: {exc}") from exc


def store_text(client: TrackingClient, run: Run, text: str, name: str) -> None:
    """Make a text the artifact ``name`` at the root of a run; doing it again changes nothing.

    Raises:
        TrackingError: the store cannot be written.
    """
    target = local_path(run.artifact_uri)
    if target is None:
        client.log_text(run.id, name, text)
        return
    data, file = storable(text).encode(), target / name
    try:
        if not file.is_file() or file.read_bytes() != data:
            write_atomic(file, lambda part: part.write(data), sync=False)
    except OSError as exc:
        raise TrackingError(f"The artifact {name} of run {run.id} cannot be written: {exc}") from exc


def store_diff(client: TrackingClient, run: Run, file: Path, whole: str) -> None:
    """Make the diff of the code an artifact of a trial's run; over a network a long one goes to the study's run alone.

    Args:
        client: Where the run is.
        run: Of the trial.
        file: The diff.
        whole: The artifact of the study's run that has all of it.

    Raises:
        RefusedError: the file does not exist.
        TrackingError: the store cannot be written.
    """
    if local_path(run.artifact_uri) is not None:
        store_file(client, run, file, DIFF)
        return
    if not file.is_file():
        raise RefusedError(f"An artifact must be a file, but {file} is not there")
    text = file.read_bytes().decode(errors="replace")
    if len(text) > _MAX_SENT_CHARACTERS:
        text = f"{text[:_MAX_SENT_CHARACTERS]}\n# cut here: the study's run has all of it as {whole}\n"
    client.log_text(run.id, DIFF, text)


def _upload_folder(client: TrackingClient, run: Run, folder: Path, name: str, without: tuple[str, ...]) -> None:
    for file in _files(folder, without):  # one by one: a failure costs one file
        parent = file.relative_to(folder).parent
        client.log_file(run.id, file, (Path(name) / parent).as_posix())


def _files(folder: Path, without: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in without]


def _link_folder(source: Path, target: Path, without: tuple[str, ...]) -> None:
    wanted = {path.relative_to(source): path for path in _files(source, without)}
    for relative, path in wanted.items():
        link_file(path, target / relative)
    if not target.is_dir():
        return
    for path in list(target.rglob("*")):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()


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

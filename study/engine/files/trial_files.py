"""Where a study's trials keep their files: its own folder, another one, or a remote store given by a URI."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from study.errors import EngineError, StorageError
from study.files import expand_home, read_inside, write_text_atomic
from study.paths import CARD, LAST_CHECKPOINT, SCORES, StudyLayout, checkpoint_name, is_uri
from study.utils.named_places import is_in_named_place, remember_place
from study.utils.remote_files import UNFINISHED, FileStore, join_location, open_remote_store, open_store
from study.utils.text import printable


@dataclass(frozen=True)
class TrialFiles:
    """The folder of all trials of one study; ``root`` is an absolute path or a URI."""

    root: str

    @cached_property
    def store(self) -> FileStore:
        """The folder of all trials."""
        return open_store(self.root)

    def folder(self, trial: int) -> str:
        """Return the path or URI of a trial's folder."""
        return join_location(self.root, f"{trial:05d}")

    def checkpoint(self, trial: int, stored: str) -> str:
        """Return the path or URI of a trial's selected checkpoint, of which only the name is taken as stored."""
        return join_location(self.folder(trial), checkpoint_name(stored))

    def require_writable(self) -> None:
        """Raise an error unless trials will be able to write.

        Raises:
            EngineError: they will not.
        """
        try:
            self.store.probe()
        except (OSError, StorageError) as error:
            raise EngineError(
                f"trials must be able to write to {self.root}, but: {error}; name another place with --storage"
            ) from error

    def files(self) -> dict[int, list[str]]:
        """Return the names of all files by trial, relative to ``root``."""
        by_trial: dict[int, list[str]] = {}
        for name in self.store.files():
            number = name.partition("/")[0]
            if number.isdigit():
                by_trial.setdefault(int(number), []).append(name)
        return by_trial

    def files_of(self, trial: int) -> list[str]:
        """Return the names of a trial's files, relative to ``root``."""
        return self.store.files(f"{trial:05d}")

    def holds(self, trial: int, checkpoint: str) -> bool:
        """Return whether a trial's selected checkpoint is there."""
        return f"{trial:05d}/{checkpoint_name(checkpoint)}/{CARD}" in self.files_of(trial)

    def download(self, trial: int, checkpoint: str, layout: StudyLayout) -> None:
        """Copy card and scores of a finished trial into the study's own folder.

        Raises:
            StorageError: they cannot be read.
        """
        local = layout.local_checkpoint(trial, checkpoint)
        if not is_uri(self.root) or (local / CARD).exists():
            return
        store = open_remote_store(self.checkpoint(trial, checkpoint))
        for name in (SCORES, CARD):  # the card last: it marks the copy as complete
            store.download(name, local / name)


def default_trial_files(layout: StudyLayout) -> TrialFiles:
    """Return the study's own folder of trials."""
    return TrialFiles(str(layout.trial(0).parent.absolute()))


def create_trial_files(layout: StudyLayout, name: str, given: str | None) -> TrialFiles:
    """Choose and record where the trials of a new study keep their files.

    Args:
        layout: the study's paths.
        name: the study's name.
        given: a path or URI, None for the study's own folder.

    Raises:
        EngineError: it cannot be written, or names a password.
    """
    if given is None:
        layout.storage.unlink(missing_ok=True)
        return default_trial_files(layout)
    place = _normalized(given)
    # A name is unique in one results folder only; the files of a namesake would be deleted as obsolete.
    storage = TrialFiles(join_location(place, f"{re.sub('[^A-Za-z0-9_-]', '-', name)}-{uuid4().hex[:8]}"))
    storage.require_writable()
    remember_place(layout.results, place)
    write_text_atomic(layout.storage, json.dumps({"given": place, "root": storage.root}) + "\n")
    return storage


def open_trial_files(layout: StudyLayout, given: str | None = None) -> TrialFiles:
    """Return where the trials of a study keep their files.

    A storage that was in the results folder is taken in it again, wherever that was moved.

    Raises:
        EngineError: another place is given than the study began with, its record is damaged, or the user never named
            the place for this results folder, which may be somebody else's.
    """
    root, began = default_trial_files(layout).root, None
    if layout.storage.exists():
        try:
            known = json.loads(read_inside(layout.storage, layout.results))
            root, began = _in_results(layout.results, str(known["root"])), str(known["given"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineError(f"{layout.storage} must say where trials keep their files, but: {error}") from error
    if began is not None and given is not None and _normalized(given) == began:
        remember_place(layout.results, began)
    if not is_in_named_place(layout.results, root):
        if began is None:
            raise EngineError(f"the trials of `{layout.name}` must be in {layout.results}, but a link leads away")
        if given is None:
            raise EngineError(
                f"a storage outside the results folder must be named once by whoever uses it, but that of "
                f"`{layout.name}`, {printable(began)}, is only named in its folder, which may be a copy or somebody "
                f"else's; if it is yours, give --storage {printable(shlex.quote(began))}"
            )
    if given is not None and _normalized(given) != began:
        raise EngineError(
            f"a study's storage must stay the same, but this one began with {began or 'its own folder'} and "
            f"--storage is {given}; leave it out"
        )
    return TrialFiles(root)


def _in_results(results: Path, root: str) -> str:
    """Return a storage in a results folder that was moved as it is now, any other one as it was."""
    if is_uri(root) or is_in_named_place(results, root):
        return root
    parts = Path(root).parts[1:]
    candidates = (results.joinpath(*parts[at:]) for at in range(1, len(parts)) if ".." not in parts)
    return next((str(candidate.absolute()) for candidate in candidates if candidate.is_dir()), root)


def is_obsolete_after_end(name: str) -> bool:
    """Return whether only a running trial needs a file, or a killed one left it unfinished."""
    parts = name.split("/")
    return parts[-1] == LAST_CHECKPOINT or any(part.startswith(".") and part.endswith(UNFINISHED) for part in parts)


def _normalized(given: str) -> str:
    """Return an absolute path, or a URI as it is.

    Raises:
        EngineError: the URI contains a password, which every record would show.
    """
    if not is_uri(given):
        return str(expand_home(given).absolute())
    if urlsplit(given).password is not None:
        raise EngineError(
            "--storage must not hold a password, because every record shows it; leave it in the environment "
            "(for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
    return given.rstrip("/")

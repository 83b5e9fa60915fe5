"""The path of every file of a results folder."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from study.files import OutsideError, expand_home

LAST_CHECKPOINT = "last.pt"
WEIGHTS, CARD, SCORES = "model.safetensors", "checkpoint.json", "validation.npz"
"""The files of a selected checkpoint's folder."""
SHIFTED_SCORES, TEST_SCORES = "shifted.npz", "test.npz"
STUDIES = "studies"
_EPOCH_FOLDER = re.compile(r"epoch-\d{1,9}")
_OWN_CHECKPOINT = re.compile(r"(?:(?:^|/)trials|.*/studies/[^/]+/trials)/\d+/epoch-\d+")


@dataclass(frozen=True)
class Layout:
    """Every path below one results folder."""

    results: Path

    @property
    def mlflow_db(self) -> Path:
        """MLflow's default database."""
        return self.results / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """MLflow's default artifact root."""
        return self.results / "mlartifacts"

    def study(self, name: str) -> StudyLayout:
        """Return the paths of one study; its folder names it, wherever it was copied or moved from."""
        return StudyLayout(self.results / STUDIES / encode_name(name))

    def studies(self) -> Iterator[tuple[str, StudyLayout]]:
        """Yield every study that has a journal, the most recently written first."""
        layouts = [StudyLayout(path.parent) for path in self.results.glob(f"{STUDIES}/*/ledger.journal")]
        for layout in sorted(layouts, key=lambda layout: layout.journal.stat().st_mtime, reverse=True):
            yield layout.name, layout


@dataclass(frozen=True)
class StudyLayout:
    """Every path of one study."""

    root: Path

    def command(self, verb: str, trial: int | None = None) -> str:
        """Return the command line that does something with this study or a trial of it, quoted for a shell."""
        what = self.name if trial is None else f"{self.name}/{trial}"
        return f"study {verb} {shlex.quote(what)}{self.results_option}"

    @property
    def results_option(self) -> str:
        """The option that names the results folder, with a blank before it; nothing for the usual one."""
        is_usual = self.results == Path("results").absolute()
        return "" if is_usual else f" --results {shlex.quote(str(self.root.parents[1]))}"

    @property
    def name(self) -> str:
        """The study's name: that of its folder."""
        return unquote(self.root.name)

    def name_of(self, stored: str) -> str:
        """Return the name of a study that began as another: its folder's, unless it is not in a results folder."""
        return self.name if self.root.absolute().parent.name == STUDIES else stored

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.root.absolute().parents[1]

    @property
    def journal(self) -> Path:
        """The durable state: Optuna's journal."""
        return self.root / "ledger.journal"

    @property
    def lock(self) -> Path:
        """Held by the driver that runs the study."""
        return self.root / "driver.lock"

    @property
    def stop_request(self) -> Path:
        """Exists while the driver is asked to stop."""
        return self.root / "stop"

    @property
    def study_file(self) -> Path:
        """The study file as it was given."""
        return self.root / "study.yaml"

    @property
    def outbox(self) -> Path:
        """Events for the tracker, one JSON object a line."""
        return self.root / "outbox.jsonl"

    @property
    def outbox_position(self) -> Path:
        """How far the tracker acknowledged the outbox."""
        return self.root / "outbox.position.json"

    @property
    def runs(self) -> Path:
        """MLflow run ids by trial number, as JSON."""
        return self.root / "runs.json"

    @property
    def storage(self) -> Path:
        """Where trials keep their files if not in this folder, as JSON."""
        return self.root / "storage.json"

    @property
    def pictures(self) -> Path:
        """A short digest of every picture the study began on, as JSON."""
        return self.root / "pictures.json"

    def code_diff(self, digest: str) -> Path:
        """Difference of the code that ran from its commit, named by the beginning of its SHA-256."""
        return self.root / f"code-{quote(digest, safe='')}.diff"

    @property
    def log(self) -> Path:
        """Output of Ray, Optuna and MLflow while the study runs."""
        return self.root / "study.log"

    @property
    def pretrained(self) -> Path:
        """Initial weights that nobody publishes: a resumed study needs the same ones."""
        return self.root / "pretrained"

    def trial(self, number: int) -> Path:
        """Folder of one trial: checkpoints, validation scores, traceback."""
        return self.root / "trials" / f"{number:05d}"

    def checkpoint(self, number: int, stored: str) -> str:
        """Return where a trial's selected checkpoint is, from what was stored of it.

        What was in the folder of a study, here or where the folder was before, is in this one; a path or URI elsewhere
        is of a storage (``storage.json``).
        """
        name = checkpoint_name(stored)
        is_own = not is_uri(stored) and _OWN_CHECKPOINT.fullmatch(stored) and _EPOCH_FOLDER.fullmatch(name)
        return str(self.trial(number).absolute() / name) if is_own else stored

    def stored_checkpoint(self, checkpoint: str) -> str:
        """Return what is stored of a checkpoint's place: a path relative to the study's folder if it is there."""
        root = self.root.absolute()
        inside = not is_uri(checkpoint) and Path(checkpoint).is_relative_to(root)
        return Path(checkpoint).relative_to(root).as_posix() if inside else checkpoint

    def local_checkpoint(self, number: int, checkpoint: str) -> Path:
        """Folder where a trial's selected checkpoint can be read on this machine, possibly without its weights.

        Raises:
            OutsideError: a URI does not end with the name of a checkpoint.
        """
        if not is_uri(checkpoint):
            return Path(self.checkpoint(number, checkpoint))
        if not _EPOCH_FOLDER.fullmatch(name := checkpoint_name(checkpoint)):
            raise OutsideError(f"a checkpoint's URI must end as epoch-0001, but ends with {name!r}")
        return self.trial(number) / name

    def last_checkpoint(self, number: int) -> Path:
        """From which an interrupted trial is resumed; deleted when it ends."""
        return self.trial(number) / LAST_CHECKPOINT

    def trial_error(self, number: int) -> Path:
        """Traceback of a failed trial."""
        return self.trial(number) / "error.txt"

    def trial_pictures(self, number: int) -> Path:
        """Figures of a finished trial, as one HTML page."""
        return self.trial(number) / "pictures.html"

    def needs_pictures(self, number: int, checkpoint: str | None) -> bool:
        """Return whether a finished trial has scores to draw, but no page yet."""
        if checkpoint is None:
            return False
        scores = self.local_checkpoint(number, checkpoint) / SCORES
        # os.path.exists: Path.exists raises in a folder without permission
        return os.path.exists(scores) and not os.path.exists(self.trial_pictures(number))

    @property
    def learning_curves(self) -> Path:
        """Learning curves of all trials as one HTML page, as of the study's last end."""
        return self.root / "learning_curves.html"

    @property
    def report(self) -> Path:
        """The report of the study as one HTML page, as of the study's last end."""
        return self.root / "report.html"

    def page(self, name: str) -> Path:
        """Page of the study with this name, that of its learning curves for any other name."""
        return self.report if name == self.report.name else self.learning_curves


def is_uri(place: str) -> bool:
    """Return whether a place is given by a URI instead of a path."""
    return "://" in place


def checkpoint_name(place: str) -> str:
    """Return the last part of a path or URI."""
    return place.partition("?")[0].rstrip("/").rpartition("/")[2]


def encode_name(name: str) -> str:
    """Encode a study name as one path component, reversibly."""
    coded = quote(name, safe="-_ ")
    return "".join("%2E" if char == "." and at == 0 else char for at, char in enumerate(coded))


def cache_dir() -> Path:
    """Return the folder for rendered and decoded data; STUDY_CACHE moves it."""
    if own := os.environ.get("STUDY_CACHE"):
        return expand_home(own)
    return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ray-study"

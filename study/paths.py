"""The path of every file of a results folder, safe reads in it, and atomic writes."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote
from uuid import uuid4

LAST_CHECKPOINT = "last.pt"
WEIGHTS, CARD, SCORES = "model.safetensors", "checkpoint.json", "validation.npz"
"""The files of a selected checkpoint's folder."""
SHIFTED_SCORES = "shifted.npz"
STUDIES = "studies"
_EPOCH_FOLDER = re.compile(r"epoch-\d{1,9}")
_OWN_CHECKPOINT = re.compile(r"(?:(?:^|/)trials|.*/studies/[^/]+/trials)/\d+/epoch-\d+")


class OutsideError(OSError):
    """A file of a results folder that links, or its name, lead out of it, or that is no plain file."""

    def __init__(self, law: str) -> None:
        super().__init__(errno.EPERM, law)

    def __str__(self) -> str:
        return str(self.strerror)


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


def expand_home(path: str | Path) -> Path:
    """Return a path with ``~`` or ``~user`` at its beginning replaced by that home."""
    return Path(os.path.expanduser(path))


def require_inside(path: Path, root: Path) -> Path:
    """Return a path, which need not exist, if it is in a folder even after every link is followed.

    Raises:
        OutsideError: it is not.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise OutsideError(f"what is in {root} must not lead out of it, but {path} is {real}")
    return path


def open_inside(path: Path, root: Path) -> BufferedReader:
    """Open a plain file in a folder for reading; neither a link out of it nor a pipe or device is opened.

    Raises:
        OutsideError: it is one of these.
        OSError: it cannot be read.
    """
    require_inside(path, root)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OutsideError(f"{path} must be a plain file")


def read_inside(path: Path, root: Path) -> bytes:
    """Read a file as ``open_inside`` opens it."""
    with open_inside(path, root) as file:
        return file.read()


def refuse_links(root: Path, results: Path) -> None:
    """Make sure before writing that nothing in a study's folder leads out of the results folder.

    Raises:
        OutsideError: a link does, or there is a pipe, a socket or a device.
    """
    require_inside(root, results)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                require_inside(path, results)
            elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise OutsideError(f"{path} must be a plain file or a folder")


def encode_name(name: str) -> str:
    """Encode a study name as one path component, reversibly."""
    coded = quote(name, safe="-_ ")
    return "".join("%2E" if char == "." and at == 0 else char for at, char in enumerate(coded))


def cache_dir() -> Path:
    """Return the folder for rendered and decoded data; STUDY_CACHE moves it."""
    if own := os.environ.get("STUDY_CACHE"):
        return expand_home(own)
    return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ray-study"


def ensure_home() -> None:
    """Give this process a home if it has none, a folder for temporary files: libraries need one to be imported.

    A user whom the system does not know, as in many containers, has none if HOME is not set.
    """
    try:
        Path.home()
    except RuntimeError:
        home = Path(tempfile.gettempdir()) / f"study-home-{os.getuid()}"
        with suppress(FileExistsError):
            home.mkdir(mode=0o700)
        is_own = home.lstat().st_uid == os.getuid() and not home.is_symlink()
        os.environ["HOME"] = str(home) if is_own else tempfile.mkdtemp(prefix="study-home-")


_PARTIAL_FILE = re.compile(r"\..*\.[0-9a-f]{32}\.part")


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, sync: bool = True) -> None:
    """Write a file whole or not at all: temporary sibling, flush, fsync, replace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:  # not mkstemp: the file follows the umask
            write(file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(part, path)
        if sync:
            sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files of writers that were killed, below a folder that nobody else writes to."""
    for part in folder.rglob(".*.part"):
        if _PARTIAL_FILE.fullmatch(part.name):
            with suppress(OSError):
                part.unlink()


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``out``, which is new or empty, if the block succeeds."""
    out = out.resolve()  # "." has no name to put a sibling beside
    staging = out.with_name(f".{out.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        if out.exists():
            out.rmdir()
        os.replace(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a folder's new names survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text_atomic(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_atomic(path, lambda file: file.write(text.encode()))

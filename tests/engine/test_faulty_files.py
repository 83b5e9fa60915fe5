"""Let every write of the driver fail: a clear message, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from commands import study_without_root_rights
from engine_fakes import DATA, CatchingUp, check_whole, drive, make_spec, stories
from faulty_files import FAULTS, FaultyDisk
from recorders import Script

from study.errors import StudyError, TrackingError
from study.events import EpochReported, Event, TrialFinished
from study.paths import Layout, StudyLayout
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage
from tracking.client.client import TrackingClient
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox, read_lines
from tracking.tracking_uri import own_tracking_uri

pytestmark = pytest.mark.usefixtures("no_flushing")
SPEC = make_spec(trials=3, epochs=2, seed=1)
MESSAGES = {
    "full": os.strerror(errno.ENOSPC),
    "short": os.strerror(errno.ENOSPC),
    "read-only": os.strerror(errno.EROFS),
    "broken": os.strerror(errno.EIO),
}
E = TypeVar("E")


@dataclass
class Mailer(CatchingUp):
    """A Recorder that writes to a real outbox, and remembers what it acknowledged."""

    path: Path
    acknowledged: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._outbox = Outbox(self.path, sync_every_s=math.inf)  # a fault then counts at the same write every time

    def record(self, event: Event) -> None:
        self._outbox.append(event)
        self.acknowledged.append(event)

    def close(self) -> None:
        self._outbox.close()

    def of(self, kind: type[E]) -> list[E]:
        return [line.event for line in read_lines(self.path) if isinstance(line.event, kind)]


def run(root: Path) -> Mailer:
    """Begin a study or go on with it, to its end."""
    layout = StudyLayout(root)
    root.mkdir(parents=True, exist_ok=True)  # done by whoever opens the study's log, before all else
    if not layout.journal.exists():
        with driver_lock(layout):
            StudyStorage.create(layout, SPEC, "name: crash\n", data=DATA)
    mailer = Mailer(layout.outbox)
    try:
        drive(layout, mailer, evaluates=True)  # type: ignore[arg-type]  # as good as a Listener here
    finally:
        mailer.close()
    return mailer


def of_a_worker(path: str) -> bool:
    return "/trials" in path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    root = tmp_path_factory.mktemp("whole") / "study"
    return stories(check_whole(StudyLayout(root), run(root)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FAULTS)
def test_every_write_may_fail(tmp_path: Path, undisturbed: list[tuple[object, ...]], kind: str) -> None:
    (tmp_path / "count").mkdir()
    with FaultyDisk(tmp_path / "count", kind, spares=of_a_worker).installed() as counting:
        run(tmp_path / "count")
    assert counting.writes > 40
    for at in range(1, counting.writes + 1):
        root = tmp_path / f"{at}"
        said, acknowledged = run_until_a_fault(root, kind, at)
        assert MESSAGES[kind] in said, (at, said)
        assert_kept(root, acknowledged, at)
        assert stories(check_whole(StudyLayout(root), run(root))) == undisturbed, at  # type: ignore[arg-type]


def run_until_a_fault(root: Path, kind: str, at: int) -> tuple[str, list[Event]]:
    """Return the message and the events that were acknowledged before it."""
    acknowledged: list[Event] = []
    append = Outbox.append

    def remembering(outbox: Outbox, event: Event) -> int:
        number = append(outbox, event)
        acknowledged.append(event)
        return number

    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbox, "append", remembering)
        with FaultyDisk(root, kind, at, spares=of_a_worker).installed(), pytest.raises(StudyError) as refusal:
            run(root)
    return str(refusal.value), acknowledged


def assert_kept(root: Path, acknowledged: list[Event], at: int) -> None:
    """Make sure that what was acknowledged before a fault is there after it."""
    layout = StudyLayout(root)
    lines = list(read_lines(layout.outbox))
    assert [line.number for line in lines] == list(range(1, len(lines) + 1)), at
    assert [type(line.event) for line in lines][: len(acknowledged)] == [
        type(confirmed) for confirmed in acknowledged
    ], at
    assert 0 <= len(lines) - len(acknowledged) <= 1, "at most an event that was written and not acknowledged"
    for event in acknowledged:
        if isinstance(event, EpochReported):
            assert event.metrics in [epoch.metrics for epoch in StudyStorage.open(layout).epochs(event.trial)], at
        if isinstance(event, TrialFinished):
            assert StudyStorage.open(layout).record(event.record.trial) == event.record, at


def test_a_fault_of_the_disk_that_passes_leaves_no_torn_line(tmp_path: Path) -> None:
    events = list(Script().whole())[:3]
    for kind in FAULTS:
        path = tmp_path / f"{kind}.jsonl"
        outbox = Outbox(path)
        outbox.append(events[0])
        with FaultyDisk(tmp_path, kind, 1).installed(), pytest.raises(TrackingError, match="must be on disk"):
            outbox.append(events[1])
        assert outbox.append(events[2]) == 2
        outbox.close()
        assert [(line.number, type(line.event)) for line in read_lines(path)] == [
            (1, type(events[0])),
            (2, type(events[2])),
        ]


@pytest.mark.parametrize("kind", ["full", "broken"])
def test_sending_goes_on_after_any_fault_of_the_disk(tmp_path: Path, empty_database: Path, kind: str) -> None:
    backend = Backend(tmp_path / "count", empty_database)
    with FaultyDisk(backend.study.root, kind).installed() as counting:
        assert backend.send() == len(backend.events)
    assert counting.writes > 3
    expected = backend.content()
    for at in range(1, counting.writes + 1):
        backend = Backend(tmp_path / f"{at}", empty_database)
        with FaultyDisk(backend.study.root, kind, at).installed(), pytest.raises((TrackingError, OSError)):
            backend.send()  # the writer takes both for an outage
        backend.send()
        assert backend.content() == expected, at
        assert backend.send() == 0


class Backend:
    """A study's outbox, and the database it is sent to."""

    def __init__(self, results: Path, empty_database: Path) -> None:
        self._layout = Layout(results)
        self.study = self._layout.study("faces")
        self.study.root.mkdir(parents=True)
        shutil.copy(empty_database, self._layout.mlflow_db)
        outbox = Outbox(self.study.outbox)
        script = Script()
        self.events = [script.start(), script.begin(0), script.report(0, 1), script.finish(0, epochs=1), script.end()]
        for event in self.events:
            outbox.append(event)
        outbox.close()

    def send(self) -> int:
        return sync(self._layout, self.study).sent

    def content(self) -> dict[str, tuple[str, dict[str, float]]]:
        client = TrackingClient(own_tracking_uri(self._layout))
        experiment = client.find_experiment("faces")
        assert experiment is not None
        runs = list(client.search([experiment.id], ""))
        assert len({run.name for run in runs}) == len(runs)
        return {run.name: (run.status, dict(run.metrics)) for run in runs}


def test_a_read_only_results_folder_is_said_and_can_be_read(tmp_path: Path) -> None:
    results, layout = tmp_path / "results", StudyLayout(tmp_path / "results" / "studies" / "crash")
    run(layout.root)
    layout.journal.write_bytes(b"".join(layout.journal.read_bytes().splitlines(keepends=True)[:-3]))
    file = tmp_path / "study.yaml"
    file.write_text("space: {learning_rate: {choice: [0.1, 0.2]}}\n")
    for path in (results, *results.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for command in (["run", file, "--name", "other"], ["resume", "crash"]):
        done = study_without_root_rights(*command, "--results", results)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: "), done.stderr
        assert "must be writable" in done.stderr
        assert str(results) in done.stderr
    shown = study_without_root_rights("show", "crash", "--results", results)
    assert shown.returncode == 0, shown.stderr
    for path in (results, *results.rglob("*")):
        path.chmod(0o755)

"""Trials keep their files in a storage as they do in a folder, whatever becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import fs
from training_kit import MAX_AUC, SMALL_DATA, short_trial, use_small_net

from study.engine.files import working_directory as workplace
from study.engine.files.checkpoint_retention import CheckpointRetention
from study.engine.files.trial_files import TrialFiles, create_trial_files, default_trial_files, open_trial_files
from study.engine.files.working_directory import FolderInUseError, WorkingDirectory
from study.engine.ray.trainable import SharedObjects, TrialTrainable
from study.engine.trial_result import TrialResult
from study.errors import EngineError, StorageError
from study.paths import CARD, LAST_CHECKPOINT, SCORES, WEIGHTS, Layout, StudyLayout
from study.records import StopReason, TrialRecord, TrialState
from study.training.checkpoint import load_scores, load_weights, read_card
from study.utils import remote_files as places
from study.utils.remote_files import RemoteStore, download_checkpoint

CONFIG = short_trial(max_epochs=3, batch_size=8, learning_rate=0.01)
SHARED = SharedObjects(SMALL_DATA, MAX_AUC, 1, 0.0, {})


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep copies and caches of this test to itself, and an epoch to its configuration."""
    use_small_net(monkeypatch)
    root = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(root))
    monkeypatch.setenv("STUDY_CACHE", str(root / "cache"))
    return root


def worker(where: str, *, pruned: int | None = None) -> TrialTrainable:
    made = TrialTrainable.__new__(TrialTrainable)
    made.setup({"trial": CONFIG.model_dump(), "directory": where, "number": 0, "pruned": pruned}, shared=SHARED)
    return made


def reports(where: str, epochs: int = 9) -> list[TrialResult]:
    """Return what one worker reports until the trial ends, or until it dies after so many epochs."""
    trainable, said = worker(where), []
    while not said or not (said[-1].ended or said[-1].failure or len(said) == epochs):
        said.append(trainable.step()["trial_result"])
    trainable.cleanup()
    return said


def contents(folder: Path) -> dict[str, object]:
    weights, card = load_weights(folder), read_card(folder)
    scores, labels = load_scores(folder)
    return {
        **{name: tensor.tolist() for name, tensor in weights.items()},
        "card": card,
        "scores": [*scores],
        "l": [*labels],
    }


def whole(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.fixture
def plain(tmp_path: Path) -> TrialResult:
    """The trial's last report, with its files in a plain folder."""
    return reports(str(tmp_path / "plain"))[-1]


def test_a_storage_holds_what_a_folder_would(tmp_path: Path, plain: TrialResult, scratch: Path) -> None:
    said = reports(f"file://{tmp_path}/far/00000")
    assert [epoch for report in said for epoch in report.epochs][-1] == plain.epochs[-1]
    assert said[-1].ended is StopReason.FINISHED
    assert said[-1].checkpoint == f"file://{tmp_path}/far/00000/{Path(plain.checkpoint or '').name}"
    assert whole(tmp_path / "far" / "00000") == whole(tmp_path / "plain")
    assert contents(download_checkpoint(said[-1].checkpoint)) == contents(Path(plain.checkpoint or ""))
    assert not list(scratch.glob("ray-study-*/*-*")), "a worker that leaves a trial leaves no copy"


def test_another_worker_goes_on_from_the_storage(tmp_path: Path, plain: TrialResult) -> None:
    where = f"file://{tmp_path}/far"
    before = reports(where, epochs=2)
    after = reports(where)
    assert [epoch.epoch for epoch in after[0].epochs] == [1, 2]
    assert after[0].epochs == tuple(epoch for report in before for epoch in report.epochs)
    assert after[-1].epochs[-1] == plain.epochs[-1]
    assert contents(download_checkpoint(after[-1].checkpoint or "")) == contents(Path(plain.checkpoint or ""))


class Faulty(fs.FileSystemHandler):
    """A file system of this machine that refuses its n-th change and all after it."""

    def __init__(self, at: int = 0, watch: Callable[[], object] = lambda: None) -> None:
        self.inner, self.at, self.changes, self.watch = fs.LocalFileSystem(), at, 0, watch

    def _change(self) -> None:
        self.watch()
        self.changes += 1
        if 0 < self.at <= self.changes:
            raise OSError("AWS Error NETWORK_CONNECTION during PutObject")

    def create_dir(self, path: str, recursive: bool) -> None:
        self._change()
        self.inner.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._change()
        self.inner.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._change()
        self.inner.delete_file(path)

    def move(self, source: str, target: str) -> None:
        self._change()
        self.inner.move(source, target)

    def open_output_stream(self, path: str, metadata: object) -> Any:
        self._change()
        with self.inner.open_output_stream(path) as half:
            half.write(b"half")
        self._change()
        return self.inner.open_output_stream(path)

    def open_input_stream(self, path: str) -> Any:
        return self.inner.open_input_stream(path)

    def get_file_info(self, paths: list[str]) -> Any:
        return self.inner.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        return self.inner.get_file_info(selector)

    def get_type_name(self) -> str:
        return "faulty"

    normalize_path = open_input_file = open_append_stream = copy_file = None
    delete_dir_contents = delete_root_dir_contents = None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


Faulty.__abstractmethods__ = frozenset()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[[Faulty], None]:
    """Let every URI be reached through a file system that may fail."""

    def use(handler: Faulty) -> None:
        def reached(uri: str) -> RemoteStore:
            return RemoteStore(fs.PyFileSystem(handler), uri.removeprefix("file://"), uri)

        monkeypatch.setattr(places, "open_remote_store", reached)
        monkeypatch.setattr(workplace, "open_remote_store", reached)

    return use


def count(root: Path) -> int:
    """Count the checkpoints in a storage: one is selected once it has its card."""
    return sum(path.name in (LAST_CHECKPOINT, CARD) for path in root.rglob("*"))


def test_a_storage_that_fails_at_any_change_stops_the_trial_and_loses_nothing(
    tmp_path: Path, plain: TrialResult, far: Callable[[Faulty], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.best_epoch.is_better", lambda value, than, mode: True)  # every epoch has new files
    monkeypatch.setattr(
        "study.engine.ray.trainable._free_memory", lambda: None
    )  # takes its time, and is not tried here
    monkeypatch.setattr("os.fsync", lambda handle: None)
    counter = Faulty()
    far(counter)
    expected = reports(f"file://{tmp_path}/counted")[-1]
    assert counter.changes > 50
    best = contents(tmp_path / "counted" / "epoch-0003")
    for at in range(1, counter.changes + 1):
        root = tmp_path / f"{at}"
        far(Faulty(at, lambda root=root: _few(root)))
        said = reports(f"file://{root}")
        failure = said[-1].failure
        assert failure is not None
        assert failure.disk
        assert failure.summary.startswith(f"study.errors.StorageError: storage file://{root}: AWS Error NETWORK")
        far(Faulty(watch=lambda root=root: _few(root)))
        again = reports(f"file://{root}")
        known = [epoch for report in said for epoch in report.epochs]
        assert list(again[0].epochs[: len(known)]) == known, "what was acknowledged is never lost"
        assert again[-1].ended is StopReason.FINISHED
        assert [epoch for report in again for epoch in report.epochs][-1] == expected.epochs[-1]
        assert contents(root / "epoch-0003") == best
        assert whole(root) == [*(f"epoch-0003/{name}" for name in (CARD, WEIGHTS, SCORES)), LAST_CHECKPOINT]


def _few(root: Path) -> None:
    assert count(root) <= 2
    assert len(list(root.rglob("*.part"))) <= 1


def test_a_worker_waits_for_another_on_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "FOLDER_WAIT_S", 0.1)
    monkeypatch.setattr(workplace.lock_folder, "__defaults__", (0.1,))
    first = WorkingDirectory(f"file://{tmp_path}/far")
    with pytest.raises(FolderInUseError):
        WorkingDirectory(f"file://{tmp_path}/far")
    first.close()
    WorkingDirectory(f"file://{tmp_path}/far").close()


def test_the_copies_of_dead_workers_are_deleted(tmp_path: Path, scratch: Path) -> None:
    WorkingDirectory(f"file://{tmp_path}/far").close()
    (root,) = scratch.glob("ray-study-*")
    (root / "99999999-abc" / "epoch-0001").mkdir(parents=True)
    WorkingDirectory(f"file://{tmp_path}/far").close()
    assert [path.name for path in root.iterdir()] == ["locks"]


@pytest.mark.parametrize("form", ["{}/deep/storage", "file://{}/deep/storage"])
def test_a_study_remembers_its_storage(tmp_path: Path, form: str) -> None:
    layout, given = Layout(tmp_path / "results").study("a b"), form.format(tmp_path)
    storage = create_trial_files(layout, "a b", given)
    assert ("://" in storage.root) is ("://" in given)
    assert storage.root.startswith(f"{given}/a-b-")
    assert open_trial_files(layout) == open_trial_files(layout, given) == storage
    assert storage.folder(7) == f"{storage.root}/00007"
    assert create_trial_files(Layout(tmp_path / "other").study("a b"), "a b", given).root != storage.root
    with pytest.raises(EngineError, match=r"must stay the same, .*deep/storage and --storage is /else; leave it out"):
        open_trial_files(layout, "/else")


def test_without_a_storage_trials_stay_in_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path("results")).study("plain")
    storage = create_trial_files(layout, "plain", None)
    assert storage == default_trial_files(layout) == open_trial_files(layout)
    assert storage.folder(3) == str(layout.trial(3).absolute())
    with pytest.raises(EngineError, match="began with its own folder and --storage is /else"):
        open_trial_files(layout, "/else")
    create_trial_files(layout, "plain", "elsewhere")
    assert open_trial_files(layout).root.startswith(f"{tmp_path}/elsewhere/plain-")
    layout.storage.write_text("{")
    with pytest.raises(EngineError, match=r"storage\.json must say where"):
        open_trial_files(layout)


@pytest.fixture
def no_s3() -> Iterator[str]:
    """A server that knows no request; where nobody answers, S3 would be asked again for 12 seconds."""

    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{file}/below", "must be able to write to .*Not a directory"),
        ("file://{file}/below", "must be able to write to .*Not a directory"),
        ("ftp://host/folder", "must be able to write to .*pyarrow knows file, s3, gs, abfs and hdfs URIs"),
        ("s3://me:secret@bucket/folder", "must not hold a password"),
        ("s3://bucket/x?endpoint_override={server}&scheme=http&region=us-east-1", "must be able to write to s3://"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_before_anything_begins(
    tmp_path: Path, given: str, said: str, no_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "file").touch()
    layout = StudyLayout(tmp_path / "results")
    with pytest.raises(EngineError, match=said) as refused:
        create_trial_files(layout, "s", given.format(file=tmp_path / "file", server=no_s3))
    assert "secret" not in str(refused.value)
    assert not layout.root.exists()


def test_an_option_of_a_uri_stays_behind_the_path() -> None:
    storage = TrialFiles("s3://bucket/some%20where?region=eu-1")
    assert storage.folder(12) == "s3://bucket/some%20where/00012?region=eu-1"


class Book:
    """A storage that knows one trial."""

    def __init__(self, record: TrialRecord) -> None:
        self.kept = record

    def records(self) -> list[TrialRecord]:
        return [self.kept]

    def record(self, number: int) -> TrialRecord:
        return self.kept

    def best_trials(self, count: int) -> tuple[int, ...]:
        return ()

    def note_dropped(self, numbers: tuple[int, ...]) -> None:
        assert numbers == (0,)


def test_scores_come_near_and_obsolete_files_go_from_afar(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path / "results")
    storage = TrialFiles(f"file://{tmp_path}/far")
    checkpoint = reports(storage.folder(0))[-1].checkpoint
    assert checkpoint is not None
    assert storage.holds(0, checkpoint)
    far_off = tmp_path / "far" / "00000"
    (far_off / ".epoch-0009.part").mkdir()
    (far_off / ".epoch-0009.part" / WEIGHTS).touch()
    record = TrialRecord("s", 0, TrialState.COMPLETE, {}, {}, checkpoint=checkpoint)
    assert CheckpointRetention(Book(record), storage, layout, "all").on_trial_end(0) == ()
    near = layout.local_checkpoint(0, checkpoint)
    assert near == layout.trial(0) / Path(checkpoint).name
    assert {path.name for path in near.iterdir()} == {CARD, SCORES}
    folder = download_checkpoint(checkpoint)
    assert (folder / WEIGHTS).stat().st_size > 0
    assert CheckpointRetention(Book(record), storage, layout, 1).sweep() == (0,)
    assert sorted(whole(far_off)) == [f"{near.name}/{CARD}", f"{near.name}/{SCORES}"]
    assert not (download_checkpoint(checkpoint) / WEIGHTS).exists(), "no copy outlives what it is a copy of"
    assert np.array_equal(load_scores(near)[1], SMALL_DATA.val_labels)


def test_a_copy_of_another_checkpoint_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    checkpoint = reports(f"file://{tmp_path}/far")[-1].checkpoint
    assert checkpoint is not None
    before = load_weights(download_checkpoint(checkpoint))
    folder = Path(checkpoint.removeprefix("file://"))
    (folder / CARD).write_text((folder / CARD).read_text().replace('"epoch"', '"epoch" '))
    (folder / WEIGHTS).write_bytes((download_checkpoint(f"file://{folder}") / WEIGHTS).read_bytes())
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in load_weights(download_checkpoint(checkpoint)).items()
    )
    (folder / CARD).unlink()
    with pytest.raises(StorageError, match=r"checkpoint\.json"):
        download_checkpoint(checkpoint)

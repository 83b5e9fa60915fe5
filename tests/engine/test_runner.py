"""The engine context Tune: faults before a study exists, addresses that do not answer, signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import Listener, drive, make_spec, make_storage

from study.config.hyperparameters import Hyperparameters
from study.config.study_config import DataSpec, StudySpec
from study.data.dataset import DataBundle, ImageSet, make_bundle
from study.engine import driver_process, preparation, runner
from study.engine.driver_process import preserve_handlers, quiet_output, quit_on_signals, stop_on_signals
from study.engine.gpu.packing import Packing
from study.engine.preparation import PreparedStudy, prepare_study
from study.engine.ray import tuner
from study.engine.ray.cluster import Slots, cluster
from study.engine.run_context import RunCallbacks, RunContext
from study.errors import DataError, EngineError, StudyStorageError
from study.paths import SCORES, StudyLayout
from study.records import StudyOutcome
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage

SILENT = RunCallbacks(lambda line: None, lambda name, ready, total: None, lambda: None)


@contextmanager
def no_cluster(address: str | None, meanwhile: Sequence[str] = ()) -> Iterator[None]:
    yield


def prepared(spec: StudySpec) -> PreparedStudy:
    few = ImageSet(np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1], np.int64), ("a", "b"))
    data = make_bundle("folder", 16, ("no", "yes"), {"train": few, "val": few})
    return PreparedStudy(data, {}, spec, Packing(Slots(1, 0, 1)), ())


def never(data: DataBundle) -> Listener:
    raise AssertionError("nothing began, so nobody listens")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_that_does_not_answer_is_said_within_seconds(address: str) -> None:
    began = time.monotonic()
    with (
        pytest.raises(EngineError, match=f"a Ray cluster must answer at {address}, which --address names"),
        cluster(address),
    ):
        raise AssertionError("somebody answered")
    assert time.monotonic() - began < 60, "Ray itself would try for two minutes"


def test_a_fault_of_the_data_leaves_the_name_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "cluster", no_cluster)
    monkeypatch.setattr(preparation, "plan_slots", lambda resources, trials: Slots(1, 0, 1))
    spec = make_spec().model_copy(update={"data": DataSpec(source="folder", path=str(tmp_path / "nowhere"))})
    layout = StudyLayout(tmp_path / "study")
    with pytest.raises(DataError):
        runner.start_study(spec, "", layout, RunContext(never, SILENT))
    assert not layout.journal.exists()
    make_storage(layout.root)


def test_a_finished_study_is_not_run_again_and_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, layout = make_storage(tmp_path / "study", make_spec(pruner="none"))
    drive(layout, Listener())
    before = layout.journal.read_bytes()
    monkeypatch.setattr(runner, "cluster", lambda *asked: pytest.fail("a cluster for nothing"))
    event = runner.resume_study(layout, RunContext(never, SILENT))
    assert (event.outcome, event.counts) == (StudyOutcome.FINISHED, {"COMPLETE": 4})
    assert layout.journal.read_bytes() == before


def test_what_a_driver_left_that_was_killed_after_its_last_trial_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, layout = make_storage(tmp_path / "study", make_spec(pruner="none"))
    monkeypatch.setattr(StudyStorage, "note_end", lambda storage, reason: None)
    drive(layout, Listener())
    left = layout.root / ".tune-0/study"
    left.mkdir(parents=True)
    monkeypatch.undo()

    monkeypatch.setattr(runner, "cluster", no_cluster)
    monkeypatch.setattr(StudyStorage, "require_data", lambda storage, *given: None)
    monkeypatch.setattr(tuner, "run_trials", lambda *args, **named: pytest.fail("all trials ended"))
    monkeypatch.setattr(preparation, "prepare_study", lambda spec, *args, **named: prepared(spec))
    event = runner.resume_study(layout, RunContext(lambda data: Listener(), SILENT))
    assert (event.outcome, event.counts) == (StudyOutcome.FINISHED, {"COMPLETE": 4})
    assert not left.parent.exists()


@pytest.mark.parametrize("data_is_there", [True, False])
def test_a_page_that_a_killed_driver_did_not_finish_is_drawn_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_is_there: bool
) -> None:
    _, layout = make_storage(tmp_path / "study", make_spec(pruner="none"))
    drive(layout, Listener())
    scores = layout.local_checkpoint(0, StudyStorage.open(layout).record(0).checkpoint or "") / SCORES
    scores.parent.mkdir(parents=True)
    scores.write_bytes(b"scores")
    part = layout.trial(0) / f".pictures.html.{'0a' * 16}.part"
    part.write_text("<html")

    def prepare(spec: StudySpec, *arguments: object, resumed: bool) -> PreparedStudy:
        if not data_is_there:
            raise DataError("the images are gone")
        return prepared(spec)

    monkeypatch.setattr(runner, "cluster", no_cluster)
    monkeypatch.setattr(preparation, "prepare_study", prepare)
    monkeypatch.setattr(StudyStorage, "require_data", lambda *fingerprint: None)
    listener, order = Listener(), []
    monkeypatch.setattr(runner, "leave_cluster", lambda: order.append("cluster"))
    monkeypatch.setattr(listener, "close", lambda: order.append("recorder"))
    event = runner.resume_study(layout, RunContext(lambda data: listener, SILENT))
    assert (event.outcome, event.counts) == (StudyOutcome.FINISHED, {"COMPLETE": 4})
    assert not part.exists()
    assert bool(listener.events) == data_is_there, "a renderer is told of the trials it has to draw"
    assert order == ["cluster", "recorder"] * data_is_there, "pages are drawn while Ray ends"


def test_what_is_to_be_said_of_the_data_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = ImageSet(np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1], np.int64), ("a", "b"))
    data = make_bundle("folder", 16, ("no", "yes"), {"train": half, "val": half}, skipped=("c.png: damaged",))
    asked: list[DataBundle] = []
    monkeypatch.setattr(preparation, "plan_slots", lambda resources, trials: Slots(1, 0, 1))
    monkeypatch.setattr(preparation, "load_data", lambda spec, on_progress: data)
    monkeypatch.setattr(preparation, "duplicate_notice", lambda bundle: asked.append(bundle) or "copies")
    spec = make_spec().model_copy(update={"trial": Hyperparameters(batch_size=2)})
    context = RunContext(never, SILENT)
    assert prepare_study(spec, StudyLayout(tmp_path), context).notices == ("skipped c.png: damaged", "copies")
    assert prepare_study(spec, StudyLayout(tmp_path), context, resumed=True).notices == ()
    assert len(asked) == 1


def test_a_study_that_somebody_runs_is_refused(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "study")
    with driver_lock(layout), pytest.raises(StudyStorageError, match=f"process {os.getpid()} already runs"):
        runner.resume_study(layout, RunContext(never, SILENT))


@pytest.fixture
def heeds_hangups() -> Iterator[None]:
    """Heed SIGHUP even where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heeds_hangups")
def test_the_first_signal_stops_and_the_second_quits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_process, "SAME_SIGNAL_S", 0.0)
    said: list[bool] = []

    def stop() -> bool:
        said.append(True)
        return len(said) > 1

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals(stop):
        signal.raise_signal(signal.SIGHUP)
        assert said == [True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_that_comes_twice_at_once_is_one_signal() -> None:
    said: list[bool] = []
    with stop_on_signals(lambda: said.append(True) or len(said) > 1):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert said == [True]


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(lambda: pytest.fail("nohup ignores it")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_that_others_take_are_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGTERM)
    with preserve_handlers():
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        quit_on_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGTERM)) == before


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError, match="must be writable"), quiet_output(tmp_path / "file" / "study.log"):
        raise AssertionError("no log")

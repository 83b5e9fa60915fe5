"""The controller without Ray: how trials begin, advance and end, and who hears of it."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_fakes import (
    Listener,
    check_whole,
    drive,
    learning_curve,
    make_spec,
    make_storage,
    metrics,
    started,
    take,
    work,
)

from study.config.search_config import Mode, Objective
from study.config.study_config import StudySpec
from study.engine.stopping import StopRequest, request_stop
from study.engine.stored_events import epoch_event, epoch_events
from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure, TrialResult
from study.errors import EngineError, StudyStorageError, TrackingError
from study.events import EpochReported, StudyEnded, TrialFinished, TrialStarted
from study.paths import StudyLayout
from study.records import StopReason, StudyOutcome, TrialState
from study.storage.study_storage import StudyStorage

NO_PRUNER = make_spec(trials=3, pruner="none")


def conduct(root: Path, spec: StudySpec = NO_PRUNER) -> tuple[TrialController, Listener, StudyStorage, StudyLayout]:
    storage, layout = make_storage(root / "study", spec)
    listener = Listener()
    return TrialController(storage, layout, listener), listener, storage, layout


def test_epochs_are_stored_before_they_are_told(tmp_path: Path) -> None:
    controller, listener, storage, _ = conduct(tmp_path)
    trial = take(controller)
    stored: list[int] = []

    def look(write: Callable[[], object]) -> None:
        stored.append(len(storage.record(trial).history))
        write()

    listener.on_record = look
    for epoch in (1, 2):
        assert not controller.on_trial_result(trial, TrialResult((metrics(epoch, 0.5 + epoch / 10),), "c"))
    assert stored == [1, 2]
    assert [(event.best_value, event.best_epoch) for event in listener.of(EpochReported)] == [(0.6, 1), (0.7, 2)]


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(
    "values", [(0.5, 0.7, 0.7, 0.6, 0.9), (0.9, 0.2, 0.2, 0.4), (math.nan, 0.3), (0.3, math.nan, 0.2, 0.4)]
)
def test_a_report_told_alone_is_the_one_that_would_be_told_again(
    tmp_path: Path, values: tuple[float, ...], mode: Mode
) -> None:
    spec = NO_PRUNER.model_copy(update={"objective": Objective(metric="val_auc", mode=mode)})
    controller, listener, storage, _ = conduct(tmp_path, spec)
    trial = take(controller)
    for epoch, value in enumerate(values, 1):
        controller.on_trial_result(trial, TrialResult((metrics(epoch, value),), "c"))
    told = [repr(event) for event in listener.of(EpochReported)]  # NaN is not equal to itself
    assert told == [repr(event) for event in epoch_events(storage, trial)]
    assert len(told) == len(values)
    assert told == [repr(epoch_event(storage, trial, epoch)) for epoch in range(1, len(values) + 1)]
    with pytest.raises(KeyError):
        epoch_event(storage, trial, 99)


def test_a_worker_that_is_behind_is_not_stopped_before_it_has_caught_up(tmp_path: Path) -> None:
    controller, _, storage, layout = conduct(tmp_path)
    trial = take(controller)
    for epoch in (1, 2):
        controller.on_trial_result(trial, TrialResult((metrics(epoch, 0.5),), "c"))
    controller.on_trial_started(trial)  # the first worker died, and a checkpoint with it
    request_stop(layout, StopRequest.SOON)
    assert not controller.on_trial_result(trial, TrialResult((metrics(1, 0.4),), "c"))
    assert controller.on_trial_result(trial, TrialResult((metrics(2, 0.4),), "c"))
    assert storage.record(trial).epochs_run == 2


def test_a_new_worker_that_tells_old_epochs_changes_nothing(tmp_path: Path) -> None:
    controller, listener, storage, _ = conduct(tmp_path)
    trial = take(controller)
    controller.on_trial_result(trial, TrialResult((metrics(1, 0.5),), "c"))
    controller.on_trial_started(trial)  # the first worker died
    assert not controller.on_trial_result(trial, TrialResult((metrics(1, 0.5), metrics(2, 0.6)), "c"))
    assert [event.metrics.epoch for event in listener.of(EpochReported)] == [1, 2]
    assert [event.attempt for event in listener.of(TrialStarted)] == [1, 2]
    assert storage.record(trial).attempts == 2


def test_a_bug_ends_its_trial_at_once_and_keeps_its_traceback(tmp_path: Path) -> None:
    controller, listener, storage, layout = conduct(tmp_path)
    trial = take(controller)
    assert controller.on_trial_result(trial, TrialResult(failure=Failure("MemoryError", "Traceback: all of it")))
    record = storage.record(trial)
    assert (record.state, record.stop_reason, record.error) == (TrialState.FAILED, StopReason.ERROR, "MemoryError")
    assert layout.trial_error(trial).read_text() == "Traceback: all of it"
    assert [event.record for event in listener.of(TrialFinished)] == [record]
    assert take(controller) == trial + 1


def test_a_report_after_the_end_is_ignored(tmp_path: Path) -> None:
    controller, listener, storage, _ = conduct(tmp_path)
    trial = take(controller)
    controller.on_trial_result(trial, TrialResult((metrics(1, 0.5),), "c", StopReason.FINISHED))
    before, heard = storage.record(trial), len(listener.events)
    assert controller.on_trial_result(trial, TrialResult((metrics(2, 0.9),), "d", StopReason.FINISHED))
    assert controller.on_trial_result(trial, TrialResult(failure=Failure("late", "late")))
    controller.on_trial_started(trial)
    assert storage.record(trial) == before
    assert len(listener.events) == heard


def test_a_pruned_trial_is_pruned_with_its_best_checkpoint(tmp_path: Path) -> None:
    controller, _, storage, _ = conduct(tmp_path, make_spec(trials=2, epochs=9))
    first, second = take(controller), take(controller)
    assert not controller.on_trial_result(first, TrialResult((metrics(1, 0.9),), "first"))
    assert controller.on_trial_result(second, TrialResult((metrics(1, 0.1),), "second"))
    record = storage.record(second)
    assert (record.state, record.stop_reason, record.value) == (TrialState.PRUNED, StopReason.PRUNED, 0.1)
    assert record.checkpoint == "second"


def test_a_full_disk_stops_the_study_and_blames_no_trial(tmp_path: Path) -> None:
    controller, _, storage, layout = conduct(tmp_path)
    trial = take(controller)
    full = Failure("OSError: [Errno 28] No space left on device", "Traceback", disk=True)
    with controller.capture_errors():
        controller.on_trial_result(trial, TrialResult(failure=full))
    assert controller.interrupted
    assert controller.next_assignment() is None
    assert storage.record(trial).state is TrialState.RUNNING
    assert not layout.trial_error(trial).exists()
    with pytest.raises(EngineError, match=r"No space left on device.*go on with `study resume "):
        controller.raise_captured()


@pytest.mark.parametrize("fault", [StudyStorageError("full"), TrackingError("full"), OSError(errno.ENOSPC, "full")])
def test_the_first_fault_of_this_side_stops_the_run_and_is_raised(tmp_path: Path, fault: Exception) -> None:
    controller, *_ = conduct(tmp_path)
    for error in (fault, RuntimeError("a consequence")):
        with controller.capture_errors():
            raise error
    assert controller.interrupted
    with pytest.raises(type(fault), match="full"):
        controller.raise_captured()


def test_an_interruption_leaves_trials_running_and_a_resume_ends_them(tmp_path: Path) -> None:
    controller, listener, storage, layout = conduct(tmp_path)
    assignment = controller.next_assignment()
    assert assignment is not None
    controller.on_trial_started(0)
    reports = work(assignment.config, layout.trial(0))
    controller.on_trial_result(0, next(reports))
    assert controller.interrupt() is False
    assert controller.interrupt() is True
    assert controller.next_assignment() is None
    event = controller.end_session()
    assert (event.outcome, event.counts) == (StudyOutcome.INTERRUPTED, {"RUNNING": 1})
    assert not storage.is_finished
    assert drive(layout, listener).outcome is StudyOutcome.FINISHED
    records = check_whole(layout, listener)
    assert [record.attempts for record in records] == [2, 1, 1]
    assert records[0].history[0].values["val_auc"] == learning_curve(assignment.config, 1)


def test_what_a_killed_driver_left_is_made_up_for_at_the_start(tmp_path: Path) -> None:
    controller, _, storage, layout = conduct(tmp_path)
    trial = take(controller)
    storage.report(trial, metrics(1, 0.5), "c")  # and then the kill, before anybody heard
    storage.report(take(controller), metrics(3, 0.7), "d")  # this one had its last epoch
    for folder in (layout.trial(0), layout.trial(1)):
        (folder / ".epoch-0004.part").mkdir(parents=True)
        (folder / "last.pt").write_text("[]")
    again, listener = StudyStorage.open(layout), Listener()
    TrialController(again, layout, listener).start_session(started(again))
    assert [(event.trial, event.metrics.epoch) for event in listener.of(EpochReported)] == [(0, 1), (1, 3)]
    assert [event.record.trial for event in listener.of(TrialFinished)] == [1]
    assert not list(layout.trial(1).iterdir())
    assert (layout.trial(0) / "last.pt").exists()
    assert (again.ask() or pytest.fail("lost")).trial == 0


def test_files_of_a_trial_told_before_the_kill_are_tidied(tmp_path: Path) -> None:
    controller, listener, storage, layout = conduct(tmp_path)
    trial = take(controller)
    storage.report(trial, metrics(1, 0.5), "c")
    storage.tell(trial, TrialState.COMPLETE, StopReason.FINISHED)
    layout.trial(trial).mkdir(parents=True)
    layout.last_checkpoint(trial).write_text("[]")
    TrialController(StudyStorage.open(layout), layout, listener).start_session(started(storage))
    assert not layout.last_checkpoint(trial).exists()
    assert [event.record.trial for event in listener.of(TrialFinished)] == [trial]


@pytest.mark.parametrize("slots", [1, 3, 50])
def test_every_planned_trial_runs_once_whatever_the_slots(tmp_path: Path, slots: int) -> None:
    _, layout = make_storage(tmp_path / "study", make_spec(trials=7, pruner="none"))
    listener = Listener()
    event = drive(layout, listener, slots=slots)
    assert event.counts == {"COMPLETE": 7}
    assert event.best == max(check_whole(layout, listener), key=lambda record: record.value or 0)
    assert StudyStorage.open(layout).is_finished
    assert [ended.outcome for ended in listener.of(StudyEnded)] == [StudyOutcome.FINISHED]


def test_a_pruned_trial_whose_files_were_lost_is_trained_again_up_to_where_it_was_pruned(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "study", make_spec(trials=2, epochs=9))
    controller = TrialController(storage, layout, Listener(), evaluates=True)
    first, second = take(controller), take(controller)
    controller.on_trial_result(first, TrialResult((metrics(1, 0.9), metrics(2, 0.9)), "c"))
    assert not controller.on_trial_result(second, TrialResult((metrics(1, 0.95),), "e1"))
    assert controller.on_trial_result(second, TrialResult((metrics(2, 0.1),), "e1"))
    again = controller.next_assignment()
    assert again is not None
    assert again.stop is not None
    assert (again.trial, again.stop.epoch) == (second, 2)
    controller.on_trial_started(second)
    assert not controller.on_trial_result(second, TrialResult((metrics(1, 0.95),), "e1")), (
        "its worker keeps it until epoch 2"
    )
    ended = TrialResult((metrics(2, 0.1),), "e1", StopReason.PRUNED, {"shifted.dark.auc": 0.5})
    assert controller.on_trial_result(second, ended)
    record = storage.record(second)
    assert (record.state, record.epochs_run, record.metrics["shifted.dark.auc"]) == (TrialState.PRUNED, 2, 0.5)
    assert record.attempts == 1

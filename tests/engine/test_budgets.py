"""Budgets, targets and wishes to stop: how a study ends before its trials do."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import Listener, drive, limited, make_storage, metrics, started, take

from study.config.search_config import BudgetSpec
from study.config.study_config import StudySpec
from study.engine.budget import BudgetLimits
from study.engine.stopping import StopRequest, clear_stop_request, request_stop, stop_requested
from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure, TrialResult
from study.events import StudyEnded
from study.paths import StudyLayout
from study.records import StopReason, StudyOutcome, TrialState
from study.storage.study_storage import StudyStorage


def conduct(
    root: Path, spec: StudySpec, **options: object
) -> tuple[TrialController, Listener, StudyStorage, StudyLayout]:
    storage, layout = make_storage(root / "crash", spec)
    listener = Listener()
    controller = TrialController(storage, layout, listener, **options)  # type: ignore[arg-type]
    controller.start_session(started(storage, resumed=False))
    return controller, listener, storage, layout


def test_a_met_target_ends_every_trial_at_its_next_epoch(tmp_path: Path) -> None:
    controller, listener, storage, _ = conduct(tmp_path, limited(target={"val_auc": 0.9, "train_loss": 0.5}))
    first, second = take(controller), take(controller)
    assert not controller.on_trial_result(first, TrialResult((metrics(1, 0.95),), "a")), "its loss is 1.0"
    assert controller.on_trial_result(first, TrialResult((metrics(2, 0.9),), "a")), "reached means as good as"
    assert controller.next_assignment() is None, "nothing new begins"
    assert controller.on_trial_result(second, TrialResult((metrics(1, 0.2),), "b"))
    event = controller.end_session()
    assert [(record.state, record.stop_reason) for record in storage.records()] == [
        (TrialState.PRUNED, StopReason.TARGET)
    ] * 2
    assert (event.outcome, event.reason) == (StudyOutcome.FINISHED, StopReason.TARGET)
    assert storage.is_finished
    assert StudyStorage.open(StudyLayout(tmp_path / "crash")).end_reason is StopReason.TARGET
    assert listener.of(StudyEnded) == [event]


def test_a_trial_that_ends_by_itself_with_the_target_is_complete(tmp_path: Path) -> None:
    controller, _, storage, _ = conduct(tmp_path, limited(target={"val_auc": 0.9}))
    trial = take(controller)
    assert controller.on_trial_result(trial, TrialResult((metrics(9, 0.99),), "a", StopReason.FINISHED))
    assert storage.record(trial).state is TrialState.COMPLETE
    controller.poll()
    assert controller.next_assignment() is None
    assert controller.end_session().reason is StopReason.TARGET


def test_too_many_failures_end_the_study(tmp_path: Path) -> None:
    controller, _, storage, _ = conduct(tmp_path, limited(failures=2))
    for _ in range(2):
        assert controller.on_trial_result(take(controller), TrialResult(failure=Failure("bug", "Traceback")))
    controller.poll()
    assert controller.next_assignment() is None
    event = controller.end_session()
    assert (event.outcome, event.reason, event.counts) == (
        StudyOutcome.FINISHED, StopReason.FAILURES, {"FAILED": 2},
    )  # fmt: skip
    assert storage.is_finished


def test_the_wall_clock_counts_over_all_sessions(tmp_path: Path) -> None:
    storage, _ = make_storage(tmp_path / "crash", limited(wall_clock="100 s"))
    begun_s = storage.created_at_s + 1000.0
    now_s = begun_s
    storage.begin_session(now_s)
    limits = BudgetLimits(storage, clock=lambda: now_s)
    assert limits.reached() is None
    now_s = begun_s + 99.0
    assert limits.reached() is None
    now_s = begun_s + 100.0
    assert limits.reached() is StopReason.TIME_BUDGET


def test_accelerator_hours_are_busy_time_times_gpus(tmp_path: Path) -> None:
    controller, _, storage, _ = conduct(tmp_path, limited(accelerator_hours=1.0), gpus_of=lambda config: 0.5)
    first, second = take(controller), take(controller)
    assert not controller.on_trial_result(first, TrialResult((metrics(1, 0.5),), "a", busy_s=3600.0))
    assert controller.on_trial_result(second, TrialResult((metrics(1, 0.5),), "b", busy_s=3601.0))
    assert controller.on_trial_result(first, TrialResult((metrics(2, 0.5),), "a", busy_s=3700.0))
    assert {record.stop_reason for record in storage.records()} == {StopReason.ACCELERATOR_BUDGET}


def test_a_stopped_trial_is_scored_on_the_shifted_sets_first(tmp_path: Path) -> None:
    spec = limited(target={"val_auc": 0.9})
    controller, _, storage, _ = conduct(tmp_path, spec, evaluates=True)
    trial = take(controller)
    assert controller.on_trial_result(trial, TrialResult((metrics(1, 0.95),), "a"))
    assert storage.record(trial).state is TrialState.RUNNING
    again = controller.next_assignment()
    assert again is not None
    assert again.stop is not None
    assert (again.trial, again.stop.epoch, again.stop.reason) == (trial, 1, StopReason.TARGET)
    controller.on_trial_started(trial)
    ended = TrialResult((metrics(1, 0.95),), "a", StopReason.PRUNED, {"shifted.dark.auc": 0.5})
    assert controller.on_trial_result(trial, ended)
    record = storage.record(trial)
    assert (record.stop_reason, record.metrics["shifted.dark.auc"]) == (StopReason.TARGET, 0.5)
    assert controller.next_assignment() is None


@pytest.mark.parametrize("evaluates", [False, True])
def test_a_resume_after_a_spent_budget_ends_what_was_left_without_training_it(tmp_path: Path, evaluates: bool) -> None:
    controller, listener, storage, layout = conduct(tmp_path, limited(target={"val_auc": 0.9}))
    first, second, third = take(controller), take(controller), take(controller)
    folder = layout.trial(second)
    folder.mkdir(parents=True)
    (folder / "last.pt").write_text("[[1, 0.3]]")
    controller.on_trial_result(second, TrialResult((metrics(1, 0.3),), str(folder / "epoch-0001")))
    storage.report(first, metrics(1, 0.95), "a")  # and then the kill
    (layout.trial(first)).mkdir(parents=True)
    (layout.trial(first) / "last.pt").write_text("[[1, 0.95]]")
    event = drive(layout, listener, evaluates=evaluates)
    assert (event.outcome, event.reason) == (StudyOutcome.FINISHED, StopReason.TARGET)
    records = StudyStorage.open(layout).records()
    assert [(record.trial, record.state, record.stop_reason, record.epochs_run) for record in records] == [
        (first, TrialState.PRUNED, StopReason.TARGET, 1),
        (second, TrialState.PRUNED, StopReason.TARGET, 1),
        (third, TrialState.PRUNED, StopReason.TARGET, 0),
    ]
    if evaluates:
        assert all("shifted.dark.auc" in record.metrics for record in records[:2])


def test_the_user_may_stop_a_study_and_go_on_with_it(tmp_path: Path) -> None:
    controller, listener, storage, layout = conduct(tmp_path, limited())
    trial = take(controller)
    request_stop(layout, StopRequest.SOON)
    assert controller.on_trial_result(trial, TrialResult((metrics(1, 0.5),), "a"))
    assert controller.next_assignment() is None
    event = controller.end_session()
    assert (event.outcome, event.reason) == (StudyOutcome.STOPPED, StopReason.USER)
    assert not storage.is_finished
    clear_stop_request(layout)
    assert drive(layout, listener).outcome is StudyOutcome.FINISHED
    records = StudyStorage.open(layout).records()
    assert [record.stop_reason for record in records] == [StopReason.USER, *[StopReason.FINISHED] * 3]


def test_a_stop_at_once_leaves_trials_as_they_are(tmp_path: Path) -> None:
    controller, listener, storage, layout = conduct(tmp_path, limited())
    trial = take(controller)
    request_stop(layout, StopRequest.NOW)
    controller.poll()
    assert controller.interrupted
    assert controller.end_session().outcome is StudyOutcome.INTERRUPTED
    assert storage.record(trial).state is TrialState.RUNNING
    clear_stop_request(layout)
    assert stop_requested(layout) is None
    assert drive(layout, listener).counts == {"COMPLETE": 4}


def test_a_budget_of_trials_is_the_number_of_trials(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "crash", limited(9))
    storage = StudyStorage.open(layout)
    storage.extend(storage.spec.model_copy(update={"budget": BudgetSpec(trials=2)}))
    event = drive(layout, Listener(), slots=3)
    assert (event.counts, event.reason) == ({"COMPLETE": 2}, None)


def test_a_trial_that_ran_out_of_memory_beside_others_runs_once_more_alone(tmp_path: Path) -> None:
    controller, _, storage, layout = conduct(tmp_path, limited(), gpus_of=lambda config: 0.5)
    trial = take(controller)
    full = Failure("OutOfMemoryError", "Traceback", memory=True)
    assert controller.on_trial_result(trial, TrialResult(failure=full))
    assert storage.record(trial).state is TrialState.RUNNING
    again = controller.next_assignment()
    assert again is not None
    assert (again.trial, again.alone, again.stop) == (trial, True, None)
    controller.on_trial_started(trial)
    assert storage.record(trial).attempts == 2
    assert (StudyStorage.open(layout).ask() or pytest.fail("lost")).alone, "a resume knows"
    assert controller.on_trial_result(trial, TrialResult(failure=full))
    assert storage.record(trial).state is TrialState.FAILED

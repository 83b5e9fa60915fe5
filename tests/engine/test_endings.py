"""Endings that coincide: kills, limits, wishes and last epochs at the same moment."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from engine_fakes import Listener, drive, limited, make_storage, metrics, reopened, started, take

from cli.commands.extend import Additions, extend_study
from study.config.search_config import BudgetSpec, KeepSpec
from study.config.study_config import StudySpec
from study.engine.stopping import StopRequest, clear_stop_request, request_stop
from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure, TrialResult
from study.paths import CARD, SCORES, WEIGHTS, StudyLayout
from study.records import EpochMetrics, StopReason, StudyOutcome, TrialState
from study.storage.study_storage import StudyStorage


def conduct(root: Path, spec: StudySpec, **options: object) -> tuple[TrialController, StudyStorage, StudyLayout]:
    storage, layout = make_storage(root / "crash", spec)
    controller = TrialController(storage, layout, Listener(), **options)  # type: ignore[arg-type]
    controller.start_session(started(storage, resumed=False))
    return controller, storage, layout


def go_on(layout: StudyLayout, **options: object) -> tuple[TrialController, StudyStorage]:
    storage = StudyStorage.open(layout)
    controller = TrialController(storage, layout, Listener(), **options)  # type: ignore[arg-type]
    controller.start_session(started(storage))
    return controller, storage


def checkpoint(layout: StudyLayout, trial: int, epoch: int) -> Path:
    folder = layout.trial(trial) / f"epoch-{epoch:04d}"
    folder.mkdir(parents=True)
    for name in (WEIGHTS, SCORES, CARD):
        (folder / name).write_text("x")
    return folder


def test_a_resume_never_prunes_a_trial_that_had_its_last_epoch(tmp_path: Path) -> None:
    spec = limited(6, epochs=2, replicates=2, pruner="asha")
    controller, storage, layout = conduct(tmp_path, spec, evaluates=True)
    scored = {"shifted.dark.auc": 0.5}
    for _ in range(2):
        whole = TrialResult((metrics(1, 0.9), metrics(2, 0.9)), "x", StopReason.FINISHED, scored)
        controller.on_trial_result(take(controller), whole)
    third = take(controller)
    assert not controller.on_trial_result(third, TrialResult((metrics(1, 0.95),), "x"))
    storage.report(third, metrics(2, 0.1), "x")  # its last epoch, and then the kill
    controller, storage = go_on(layout, evaluates=True)
    assert take(controller) == third
    controller.on_trial_result(
        third, TrialResult((metrics(1, 0.95), metrics(2, 0.1)), "x", StopReason.FINISHED, scored)
    )
    following = controller.next_assignment()
    assert following is not None
    assert storage.record(third).state is TrialState.COMPLETE
    assert (following.record.point, following.record.replicate) == (1, 1)


@pytest.mark.parametrize("budget", [{"target": {"val_auc": 0.9}}, {"failures": 1}])
def test_nothing_begins_after_a_limit_was_met(tmp_path: Path, budget: dict[str, object]) -> None:
    controller, *_ = conduct(tmp_path, limited(epochs=1, **budget))
    trial = take(controller)
    failed = TrialResult(failure=Failure("bug", "Traceback"))
    ended = TrialResult((metrics(1, 0.95),), "x", StopReason.FINISHED)
    controller.on_trial_result(trial, failed if "failures" in budget else ended)
    assert controller.next_assignment() is None


def test_a_limit_outranks_the_pruner_after_a_kill_too(tmp_path: Path) -> None:
    spec = limited(pruner="asha", target={"train_loss": 1.0})
    controller, storage, layout = conduct(tmp_path, spec.model_copy(update={"budget": BudgetSpec()}))
    first, second = take(controller), take(controller)
    controller.on_trial_result(first, TrialResult((metrics(1, 0.9),), "x"))
    storage.extend(spec)
    storage.report(second, metrics(1, 0.1))
    _, storage = go_on(layout)
    assert storage.record(second).stop_reason is StopReason.TARGET


def test_ctrl_c_after_a_wish_to_stop_is_no_end(tmp_path: Path) -> None:
    controller, storage, layout = conduct(tmp_path, limited())
    trial = take(controller)
    request_stop(layout, StopRequest.SOON)
    assert controller.on_trial_result(trial, TrialResult((metrics(1, 0.5),), "x"))
    controller.interrupt()
    assert controller.end_session().outcome is StudyOutcome.STOPPED
    assert not storage.is_finished


def test_a_wish_that_comes_as_the_last_trial_ends_changes_nothing(tmp_path: Path) -> None:
    controller, _, layout = conduct(tmp_path, limited(2))
    first = take(controller)
    request_stop(layout, StopRequest.SOON)
    controller.on_trial_result(first, TrialResult((metrics(1, 0.5),), "x"))
    assert controller.end_session().outcome is StudyOutcome.STOPPED
    clear_stop_request(layout)
    controller, storage = go_on(layout)
    last = take(controller)
    request_stop(layout, StopRequest.SOON)
    controller.poll()
    controller.on_trial_result(last, TrialResult((metrics(9, 0.5),), "x", StopReason.FINISHED))
    assert controller.end_session().outcome is StudyOutcome.FINISHED
    assert storage.is_finished


def test_of_equal_trials_the_one_that_is_called_best_keeps_its_weights(tmp_path: Path) -> None:
    spec = limited(epochs=1).model_copy(update={"keep": KeepSpec(per_study=1)})
    controller, storage, layout = conduct(tmp_path, spec)
    for loss in (0.5, 0.4, 0.3):
        trial = take(controller)
        epoch = EpochMetrics(1, {"val_auc": 1.0, "val_loss": loss})
        controller.on_trial_result(trial, TrialResult((epoch,), str(checkpoint(layout, trial, 1)), StopReason.FINISHED))
    best = controller.end_session().best
    assert best is not None
    assert (best.trial, best.kept) == (2, True)
    assert [record.kept for record in storage.records()] == [False, False, True]


def test_a_worker_that_began_again_is_not_stopped_at_an_epoch_whose_checkpoint_it_deleted(tmp_path: Path) -> None:
    controller, _, layout = conduct(tmp_path, limited(1))
    trial = take(controller)
    lost = checkpoint(layout, trial, 3)
    for epoch in (1, 2, 3):
        controller.on_trial_result(trial, TrialResult((metrics(epoch, epoch / 10),), str(lost)))
    controller, storage = go_on(layout)  # after a kill; last.pt is damaged
    assert take(controller) == trial
    shutil.rmtree(lost)
    request_stop(layout, StopRequest.SOON)
    again = EpochMetrics(1, {"val_auc": 0.1, "train_loss": 1.0, "epoch_s": 7.0})
    assert not controller.on_trial_result(trial, TrialResult((again,), str(checkpoint(layout, trial, 1))))
    assert storage.record(trial).state is TrialState.RUNNING


def test_a_stopped_trial_whose_evaluation_fails_has_not_failed(tmp_path: Path) -> None:
    controller, storage, layout = conduct(tmp_path, limited(target={"val_auc": 0.9}, failures=1), evaluates=True)
    trial = take(controller)
    folder = checkpoint(layout, trial, 1)
    assert controller.on_trial_result(trial, TrialResult((metrics(1, 0.95),), str(folder)))
    assert take(controller) == trial
    assert controller.on_trial_result(trial, TrialResult(failure=Failure("RuntimeError", "Traceback")))
    record = storage.record(trial)
    assert (record.state, record.stop_reason, record.checkpoint) == (TrialState.PRUNED, StopReason.TARGET, str(folder))
    assert layout.trial_error(trial).read_text() == "Traceback"


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_an_extension_torn_between_its_lines_is_none_at_all(tmp_path: Path, lines: int) -> None:
    _, layout = make_storage(tmp_path / "crash", limited(epochs=1, target={"val_auc": 0.1}))
    drive(layout, Listener())
    storage, before = StudyStorage.open(layout), layout.journal.read_bytes()
    assert storage.end_reason is StopReason.TARGET
    storage.extend(extend_study(storage.spec, Additions(no_target=True)))
    added = layout.journal.read_bytes()[len(before) :].splitlines(keepends=True)
    layout.journal.write_bytes(before + b"".join(added[:lines]) + added[lines][:9])
    torn = reopened(layout)
    assert (torn.spec.budget.target, torn.is_finished, torn.end_reason) == ({"val_auc": 0.1}, True, StopReason.TARGET)
    assert layout.journal.read_bytes() == before


def test_time_that_led_to_nothing_counts_as_accelerator_time(tmp_path: Path) -> None:
    controller, *_ = conduct(tmp_path, limited(accelerator_hours=1.0), gpus_of=lambda config: 1.0)
    controller.on_trial_result(take(controller), TrialResult(failure=Failure("bug", "Traceback"), busy_s=3600.0))
    assert controller.next_assignment() is None


def test_a_trial_that_runs_alone_counts_a_whole_gpu(tmp_path: Path) -> None:
    controller, *_ = conduct(tmp_path, limited(accelerator_hours=1.0), gpus_of=lambda config: 0.25)
    controller.on_trial_result(take(controller), TrialResult(failure=Failure("full", "Traceback", memory=True)))
    again = take(controller)
    assert not controller.on_trial_result(again, TrialResult((metrics(1, 0.5),), "x", busy_s=3500.0))
    assert controller.on_trial_result(again, TrialResult((metrics(2, 0.5),), "x", busy_s=3600.0))


def test_more_seeds_reach_every_point_of_an_uneven_search(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "crash", limited(5, epochs=1, replicates=2))
    drive(layout, Listener())
    storage = StudyStorage.open(layout)
    storage.extend(extend_study(storage.spec, Additions(replicates=1)))
    drive(layout, Listener())
    assert set(Counter(record.point for record in StudyStorage.open(layout).records()).values()) == {3}


def test_a_sampler_takes_a_trial_that_the_user_stopped_for_as_good_as_it_was(tmp_path: Path) -> None:
    controller, _, layout = conduct(tmp_path, limited(3, sampler="tpe"))
    controller.on_trial_result(take(controller), TrialResult((metrics(9, 0.5),), "x", StopReason.FINISHED))
    trial = take(controller)
    request_stop(layout, StopRequest.SOON)
    controller.on_trial_result(trial, TrialResult((metrics(1, 0.99),), "x"))
    shown = StudyStorage.open(layout)._creator.searcher.history.shown()
    assert [(frozen.state.name, frozen.values) for frozen in shown] == [("COMPLETE", [0.5]), ("COMPLETE", [0.99])]

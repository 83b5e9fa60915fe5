"""Endings that coincide: kills, limits, wishes and last epochs at the same moment."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from engine_fakes import Listener, drive, make_spec, make_storage, metrics, reopened, started

from cli.commands.run import Additions, extend_study
from study.config.search_config import BudgetSpec, KeepSpec, Pruner, Sampler
from study.config.study_config import StudySpec
from study.engine.budget import StopRequest, clear_stop_request, request_stop
from study.engine.messages import Failure, TrialReport
from study.engine.trial_controller import TrialController
from study.paths import CARD, SCORES, WEIGHTS, StudyLayout
from study.records import EpochMetrics, StopReason, StudyOutcome, TrialState
from study.storage.study_storage import StudyStorage


def limited(
    trials: int = 4,
    *,
    epochs: int = 9,
    replicates: int = 1,
    sampler: Sampler = "random",
    pruner: Pruner = "none",
    **budget: object,
) -> StudySpec:
    spec = make_spec(trials=trials, epochs=epochs, sampler=sampler, pruner=pruner, replicates=replicates)
    return spec.model_copy(update={"budget": BudgetSpec.model_validate(budget)})


def conduct(root: Path, spec: StudySpec, **options: object) -> tuple[TrialController, StudyStorage, StudyLayout]:
    storage, layout = make_storage(root / "crash", spec)
    conductor = TrialController(storage, layout, Listener(), **options)  # type: ignore[arg-type]
    conductor.begin(started(storage, resumed=False))
    return conductor, storage, layout


def go_on(layout: StudyLayout, **options: object) -> tuple[TrialController, StudyStorage]:
    storage = StudyStorage.open(layout)
    conductor = TrialController(storage, layout, Listener(), **options)  # type: ignore[arg-type]
    conductor.begin(started(storage))
    return conductor, storage


def take(conductor: TrialController) -> int:
    assignment = conductor.next_assignment()
    assert assignment is not None
    conductor.place(assignment.trial)
    return assignment.trial


def checkpoint(layout: StudyLayout, trial: int, epoch: int) -> Path:
    folder = layout.trial(trial) / f"epoch-{epoch:04d}"
    folder.mkdir(parents=True)
    for name in (WEIGHTS, SCORES, CARD):
        (folder / name).write_text("x")
    return folder


def test_a_resume_never_prunes_a_trial_that_had_its_last_epoch(tmp_path: Path) -> None:
    spec = limited(6, epochs=2, replicates=2, pruner="asha")
    conductor, storage, layout = conduct(tmp_path, spec, evaluates=True)
    scored = {"shifted.dark.auc": 0.5}
    for _ in range(2):
        whole = TrialReport((metrics(1, 0.9), metrics(2, 0.9)), "x", StopReason.FINISHED, scored)
        conductor.on_report(take(conductor), whole)
    third = take(conductor)
    assert not conductor.on_report(third, TrialReport((metrics(1, 0.95),), "x"))
    storage.report(third, metrics(2, 0.1), "x")  # its last epoch, and then the kill
    conductor, storage = go_on(layout, evaluates=True)
    assert take(conductor) == third
    conductor.on_report(third, TrialReport((metrics(1, 0.95), metrics(2, 0.1)), "x", StopReason.FINISHED, scored))
    following = conductor.next_assignment()
    assert following is not None
    assert storage.record(third).state is TrialState.COMPLETE
    assert (following.record.point, following.record.replicate) == (1, 1)


@pytest.mark.parametrize("budget", [{"target": {"val_auc": 0.9}}, {"failures": 1}])
def test_nothing_begins_after_a_limit_was_met(tmp_path: Path, budget: dict[str, object]) -> None:
    conductor, *_ = conduct(tmp_path, limited(epochs=1, **budget))
    trial = take(conductor)
    failed = TrialReport(failure=Failure("bug", "Traceback"))
    ended = TrialReport((metrics(1, 0.95),), "x", StopReason.FINISHED)
    conductor.on_report(trial, failed if "failures" in budget else ended)
    assert conductor.next_assignment() is None


def test_a_limit_outranks_the_pruner_after_a_kill_too(tmp_path: Path) -> None:
    spec = limited(pruner="asha", target={"train_loss": 1.0})
    conductor, storage, layout = conduct(tmp_path, spec.model_copy(update={"budget": BudgetSpec()}))
    first, second = take(conductor), take(conductor)
    conductor.on_report(first, TrialReport((metrics(1, 0.9),), "x"))
    storage.extend(spec)
    storage.report(second, metrics(1, 0.1))
    _, storage = go_on(layout)
    assert storage.record(second).stop_reason is StopReason.TARGET


def test_ctrl_c_after_a_wish_to_stop_is_no_end(tmp_path: Path) -> None:
    conductor, storage, layout = conduct(tmp_path, limited())
    trial = take(conductor)
    request_stop(layout, StopRequest.SOON)
    assert conductor.on_report(trial, TrialReport((metrics(1, 0.5),), "x"))
    conductor.interrupt()
    assert conductor.end().outcome is StudyOutcome.STOPPED
    assert not storage.is_finished


def test_a_wish_that_comes_as_the_last_trial_ends_changes_nothing(tmp_path: Path) -> None:
    conductor, _, layout = conduct(tmp_path, limited(2))
    first = take(conductor)
    request_stop(layout, StopRequest.SOON)
    conductor.on_report(first, TrialReport((metrics(1, 0.5),), "x"))
    assert conductor.end().outcome is StudyOutcome.STOPPED
    clear_stop_request(layout)
    conductor, storage = go_on(layout)
    last = take(conductor)
    request_stop(layout, StopRequest.SOON)
    conductor.poll()
    conductor.on_report(last, TrialReport((metrics(9, 0.5),), "x", StopReason.FINISHED))
    assert conductor.end().outcome is StudyOutcome.FINISHED
    assert storage.is_finished


def test_of_equal_trials_the_one_that_is_called_best_keeps_its_weights(tmp_path: Path) -> None:
    spec = limited(epochs=1).model_copy(update={"keep": KeepSpec(per_study=1)})
    conductor, storage, layout = conduct(tmp_path, spec)
    for loss in (0.5, 0.4, 0.3):
        trial = take(conductor)
        epoch = EpochMetrics(1, {"val_auc": 1.0, "val_loss": loss})
        conductor.on_report(trial, TrialReport((epoch,), str(checkpoint(layout, trial, 1)), StopReason.FINISHED))
    best = conductor.end().best
    assert best is not None
    assert (best.trial, best.kept) == (2, True)
    assert [one.kept for one in storage.records()] == [False, False, True]


def test_a_worker_that_began_again_is_not_stopped_at_an_epoch_whose_checkpoint_it_deleted(tmp_path: Path) -> None:
    conductor, _, layout = conduct(tmp_path, limited(1))
    trial = take(conductor)
    lost = checkpoint(layout, trial, 3)
    for epoch in (1, 2, 3):
        conductor.on_report(trial, TrialReport((metrics(epoch, epoch / 10),), str(lost)))
    conductor, storage = go_on(layout)  # after a kill; last.pt is damaged
    assert take(conductor) == trial
    shutil.rmtree(lost)
    request_stop(layout, StopRequest.SOON)
    again = EpochMetrics(1, {"val_auc": 0.1, "train_loss": 1.0, "epoch_s": 7.0})
    assert not conductor.on_report(trial, TrialReport((again,), str(checkpoint(layout, trial, 1))))
    assert storage.record(trial).state is TrialState.RUNNING


def test_a_stopped_trial_whose_evaluation_fails_has_not_failed(tmp_path: Path) -> None:
    conductor, storage, layout = conduct(tmp_path, limited(target={"val_auc": 0.9}, failures=1), evaluates=True)
    trial = take(conductor)
    folder = checkpoint(layout, trial, 1)
    assert conductor.on_report(trial, TrialReport((metrics(1, 0.95),), str(folder)))
    assert take(conductor) == trial
    assert conductor.on_report(trial, TrialReport(failure=Failure("RuntimeError", "Traceback")))
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
    conductor, *_ = conduct(tmp_path, limited(accelerator_hours=1.0), gpus_of=lambda config: 1.0)
    conductor.on_report(take(conductor), TrialReport(failure=Failure("bug", "Traceback"), busy_s=3600.0))
    assert conductor.next_assignment() is None


def test_a_trial_that_runs_alone_counts_a_whole_gpu(tmp_path: Path) -> None:
    conductor, *_ = conduct(tmp_path, limited(accelerator_hours=1.0), gpus_of=lambda config: 0.25)
    conductor.on_report(take(conductor), TrialReport(failure=Failure("full", "Traceback", memory=True)))
    again = take(conductor)
    assert not conductor.on_report(again, TrialReport((metrics(1, 0.5),), "x", busy_s=3500.0))
    assert conductor.on_report(again, TrialReport((metrics(2, 0.5),), "x", busy_s=3600.0))


def test_more_seeds_reach_every_point_of_an_uneven_search(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "crash", limited(5, epochs=1, replicates=2))
    drive(layout, Listener())
    storage = StudyStorage.open(layout)
    storage.extend(extend_study(storage.spec, Additions(replicates=1)))
    drive(layout, Listener())
    assert set(Counter(one.point for one in StudyStorage.open(layout).records()).values()) == {3}


def test_a_sampler_takes_a_trial_that_the_user_stopped_for_as_good_as_it_was(tmp_path: Path) -> None:
    conductor, _, layout = conduct(tmp_path, limited(3, sampler="tpe"))
    conductor.on_report(take(conductor), TrialReport((metrics(9, 0.5),), "x", StopReason.FINISHED))
    trial = take(conductor)
    request_stop(layout, StopRequest.SOON)
    conductor.on_report(trial, TrialReport((metrics(1, 0.99),), "x"))
    shown = StudyStorage.open(layout)._asker.searcher.history.shown()
    assert [(one.state.name, one.values) for one in shown] == [("COMPLETE", [0.5]), ("COMPLETE", [0.99])]

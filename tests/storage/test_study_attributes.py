"""What is known of a study as a whole: its sessions, budget, best trials, end, and the studies before it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import optuna
import pytest
from engine_fakes import DATA, SPACE, make_spec, make_storage, metrics, reopened

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective, SamplerName
from study.config.search_space import Choice, Constant, Parameter, Uniform
from study.paths import StudyLayout
from study.records import EpochMetrics, StopReason, TrialState
from study.search.prior_trials import PriorTrial, prior_trials
from study.storage.study_storage import StudyStorage
from study.trials.serialization import StopDecision

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Time:
    """A clock that the test sets."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr("time.time", clock)
    return clock


def finish(storage: StudyStorage, value: float, *, busy_s: float = 0.0, pruned: bool = False) -> int:
    """Run one trial of one epoch."""
    assignment = storage.ask()
    assert assignment is not None
    storage.report(assignment.trial, metrics(1, value), "best", busy_s)
    if pruned:
        storage.stop(assignment.trial, StopReason.PRUNED)
        storage.tell(assignment.trial, TrialState.PRUNED, StopReason.PRUNED)
    else:
        storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
    return assignment.trial


def test_the_time_driven_is_that_of_all_sessions_a_killed_one_until_its_last_word(tmp_path: Path, clock: Time) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(6, pruner="none"))
    storage.begin_session(1000.0)
    clock.now_s = 1030.0
    finish(storage, 0.5)
    assert storage.driven_s(1040.0) == 40.0
    clock.now_s = 5000.0
    again = reopened(layout)
    assert again.driven_s(5000.0) == 30.0, "killed after its last word"
    again.begin_session(5000.0)
    clock.now_s = 5007.0
    again.ask()
    assert again.driven_s(5010.0) == 40.0
    clock.now_s = 5020.0
    again.note_end(StopReason.USER)
    assert reopened(layout).driven_s(9000.0) == 50.0


def test_the_time_on_workers_counts_epochs_trained_twice(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(pruner="none"))
    finish(storage, 0.5, busy_s=10.0)
    storage.ask()
    storage.report(1, metrics(1, 0.25), "a", 4.0)
    storage.report(1, metrics(1, 0.5), "a", 5.0)
    assert not storage.report(1, metrics(1, 0.5), "a", 6.0)
    for opened in (storage, reopened(layout)):
        assert [record.busy_s for record in opened.records()] == [10.0, 9.0]


@pytest.mark.parametrize("mode, best", [("max", (3, 0, 2, 1)), ("min", (1, 2, 0, 3))])
def test_the_best_trials_come_first_the_earlier_of_equals_and_no_failed_one(
    tmp_path: Path, mode: str, best: tuple[int, ...]
) -> None:
    spec = make_spec(6, pruner="none")
    spec = spec.model_copy(update={"objective": Objective(metric="val_auc", mode=mode)})  # type: ignore[arg-type]
    storage, layout = make_storage(tmp_path / "s", spec)
    for value, pruned in ((0.5, False), (0.25, True), (0.375, False), (0.75, True)):
        finish(storage, value, pruned=pruned)
    finish(storage, math.nan)
    storage.ask()
    storage.report(5, metrics(1, 0.99))
    for opened in (storage, reopened(layout)):
        assert opened.best_trials(9) == best
        assert opened.best_trials(2) == best[:2]
        assert {state: count for state, count in opened.counts().items() if count} == {
            TrialState.COMPLETE: 2, TrialState.PRUNED: 2, TrialState.FAILED: 1, TrialState.RUNNING: 1,
        }  # fmt: skip


def test_a_trial_without_a_finite_value_for_every_aim_has_failed(tmp_path: Path) -> None:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="latency_ms", mode="min"))
    storage, _ = make_storage(tmp_path / "s", make_spec(pruner="none", objectives=objectives))
    storage.ask()
    storage.report(0, metrics(1, 0.5))
    record = storage.tell(0, TrialState.COMPLETE, StopReason.FINISHED)
    assert (record.state, record.stop_reason) == (TrialState.FAILED, StopReason.ERROR)
    assert record.error is not None
    assert record.error.endswith("a finite number for every objective, got val_auc = 0.5, latency_ms = None")
    storage.ask()
    storage.report(1, EpochMetrics(1, {"val_auc": 0.5, "latency_ms": 3.0}))
    storage.report(1, EpochMetrics(2, {"val_auc": 0.25, "latency_ms": 1.0}))
    assert storage.tell(1, TrialState.COMPLETE, StopReason.FINISHED).metrics["latency_ms"] == 3.0


def test_dropped_weights_are_remembered(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(4, pruner="none"))
    for _ in range(4):
        finish(storage, 0.5)
    assert all(record.kept for record in storage.records())
    storage.note_dropped([2])
    storage.note_dropped((0, 2))
    for opened in (storage, reopened(layout)):
        assert [record.kept for record in opened.records()] == [False, True, False, True]


def test_a_stop_is_decided_once_and_kept(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(pruner="none"))
    storage.ask()
    storage.ask()
    assert storage.stop_of(0) is None
    storage.report(0, metrics(1, 0.5))
    storage.report(0, metrics(2, 0.5))
    assert storage.stop(0, StopReason.TIME_BUDGET) == StopDecision(2, StopReason.TIME_BUDGET)
    assert storage.stop(0, StopReason.USER) == StopDecision(2, StopReason.TIME_BUDGET), "what was decided first stays"
    assert storage.stop(1, StopReason.USER) == StopDecision(0, StopReason.USER)
    assert storage.should_prune(0)
    again = reopened(layout)
    assignments = [again.ask(), again.ask()]
    assert [assignment and assignment.stop for assignment in assignments] == [
        StopDecision(2, StopReason.TIME_BUDGET),
        StopDecision(0, StopReason.USER),
    ]
    record = again.tell(0, TrialState.PRUNED, StopReason.TIME_BUDGET)
    assert record.stop_reason is StopReason.TIME_BUDGET


def test_a_trial_that_is_to_be_alone_stays_so(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    first = storage.ask()
    assert first is not None
    assert not first.alone
    storage.place_alone(0)
    assert storage.assignment(0).alone
    again = reopened(layout).ask()
    assert again is not None
    assert again.alone


@pytest.mark.parametrize("reason, finished", [(None, False), (StopReason.USER, False), (StopReason.TARGET, True)])
def test_an_end_before_all_trials_is_one_unless_the_user_stopped(
    tmp_path: Path, reason: StopReason | None, finished: bool
) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(4, pruner="none"))
    finish(storage, 0.5)
    storage.ask()
    storage.note_end(reason)
    assert not storage.is_finished, "a trial runs"
    storage.tell(1, TrialState.FAILED, StopReason.ERROR)
    again = reopened(layout)
    assert (again.is_finished, again.end_reason) == (finished, reason)
    again.begin_session(1e10)
    assert again.end_reason == (reason if finished else None)


def test_what_a_study_began_on_is_kept(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path / "s")
    layout.root.mkdir()
    given, prior = make_spec(9), PriorTrial({"optimizer": "adam", "learning_rate": 0.01}, {"val_auc": 0.5}, {1: 0.25})
    StudyStorage.create(
        layout, make_spec(8), "a: 1\n", data=DATA, notices=["n"], given=given, warm_start=[prior],
        environment={"os": "x"},
    )  # fmt: skip
    storage = StudyStorage.open(layout)
    assert (storage.spec, storage.given, storage.study_file) == (make_spec(8), given, "a: 1\n")
    assert (storage.notices, storage.environment, storage.warm_start) == (("n",), {"os": "x"}, (prior,))
    assert (storage.data, storage.extensions, storage.end_reason) == (DATA, (), None)


def earlier(root: Path, **fields: object) -> StudyStorage:
    """Run a study of twelve trials, two of them pruned and one failed."""
    storage, _ = make_storage(root, make_spec(12, pruner="none", seed=9, **fields))  # type: ignore[arg-type]
    for number in range(11):
        finish(storage, 0.5 + number / 100, pruned=number in (3, 4))
    finish(storage, math.nan)
    return storage


def test_points_of_an_earlier_study_are_means_over_their_replicates(tmp_path: Path) -> None:
    other = earlier(tmp_path / "other", replicates=2)
    points, left_out, why = prior_trials(make_spec(), other.spec, other.records())
    by_point = {record.point: dict(record.params) for record in other.records()}
    assert len(by_point) == 7
    failed = next(record for record in other.records() if record.state is TrialState.FAILED)
    assert [dict(point.params) for point in points] == [by_point[at] for at in by_point if at != failed.point]
    assert [point.state for point in points].count(TrialState.PRUNED) == 2
    whole = [point for point in points if point.state is TrialState.COMPLETE]
    assert whole[0].values == {"val_auc": pytest.approx(0.505)}, "the mean over replicates"
    pruned = next(point for point in points if point.state is TrialState.PRUNED)
    assert pruned.epochs == {1: 0.53}
    assert (left_out, why) == (1, "failed (1)")


def test_points_that_do_not_fit_are_counted_and_said(tmp_path: Path) -> None:
    other = earlier(tmp_path / "other")
    narrow = (*SPACE[:2], Parameter(name="learning_rate", domain=Uniform(low=1e-3, high=1e-2, log=True)))
    points, left_out, why = prior_trials(make_spec(space=narrow), other.spec, other.records())
    assert points
    assert all(1e-3 <= float(point.params["learning_rate"]) <= 1e-2 for point in points)  # type: ignore[arg-type]
    assert len(points) + left_out == 12
    assert "learning_rate is outside 0.001..0.01" in why
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="latency_ms", mode="min"))
    _, left_out, why = prior_trials(make_spec(pruner="none", objectives=objectives), other.spec, other.records())
    assert left_out == 12
    assert "has no latency_ms (9)" in why


def test_what_is_fixed_in_one_study_and_searched_in_the_other_must_agree(tmp_path: Path) -> None:
    other = earlier(tmp_path / "other")
    adam = [record for record in other.records() if record.params["optimizer"] == "adam" and record.state.is_finished]
    fixed = (Parameter(name="optimizer", domain=Constant(value="adam")), SPACE[2])
    points, _, why = prior_trials(make_spec(space=fixed), other.spec, other.records())
    usable = [point for point in adam if point.state is not TrialState.FAILED]
    assert [dict(point.params) for point in points] == [
        {"learning_rate": point.params["learning_rate"]} for point in usable
    ]
    assert "optimizer is fixed at 'adam' here" in why
    wider = (*SPACE, Parameter(name="depth", domain=Choice(values=(10, 18))))
    points, _, _ = prior_trials(make_spec(space=wider), other.spec, other.records())
    assert {point.params["depth"] for point in points} == {18}, "what was fixed there counts as its value"
    elsewhere = make_spec(space=wider).model_copy(update={"trial": Hyperparameters(depth=34)})
    assert len(prior_trials(elsewhere, other.spec, other.records())[0]) == 11
    narrower = (*SPACE, Parameter(name="depth", domain=Choice(values=(10, 34))))
    points, left_out, why = prior_trials(make_spec(space=narrower), other.spec, other.records())
    assert (points, left_out) == ((), 12)
    assert "depth 18 is no choice here" in why


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "nsga2"])
def test_a_sampler_knows_the_points_of_earlier_studies_though_they_are_gone(
    tmp_path: Path, sampler: SamplerName
) -> None:
    other, _ = make_storage(tmp_path / "other", make_spec(24, pruner="none", seed=9))
    for _ in range(24):
        assignment = other.ask()
        assert assignment is not None
        other.report(assignment.trial, metrics(1, 1.0 - abs(assignment.config.learning_rate - 0.05)))
        other.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
    spec = make_spec(3, sampler=sampler, pruner="none")
    points, _, _ = prior_trials(spec, other.spec, other.records())
    shutil.rmtree(tmp_path / "other")

    def params(folder: str, warm_start: tuple[PriorTrial, ...], *, resumes: bool) -> list[object]:
        layout = StudyLayout(tmp_path / folder)
        layout.root.mkdir()
        storage = StudyStorage.create(layout, spec, "x", data=DATA, warm_start=warm_start)
        for _ in range(3):
            finish(storage, 0.5)
            storage = reopened(layout) if resumes else storage
        return [dict(record.params) for record in storage.records()]

    warm = params("warm", points, resumes=False)
    assert warm == params("resumed", points, resumes=True)
    assert warm != params("cold", (), resumes=False)

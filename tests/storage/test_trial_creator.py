"""What is asked next: points and replicates in their order, none twice, and as many as planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import optuna
import pytest
from engine_fakes import SPACE, make_spec, make_storage, metrics, reopened
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.hyperparameters import Scalar
from study.config.search_config import BudgetSpec, DesignSpec, SamplerName
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import StudySpec, stable_seed
from study.designs import listed_points
from study.designs.grid import grid_points
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.search.suggest import UnvisitedPoints
from study.storage.reader import read_study
from study.storage.study_storage import StudyStorage
from study.trials.queue import point_key

optuna.logging.set_verbosity(optuna.logging.WARNING)
OPTIMIZER = Parameter(name="optimizer", domain=Choice(values=("sgd", "adam")))
MOMENTUM = Parameter(
    name="momentum", domain=Choice(values=(0.0, 0.9)), when=(Condition(parameter="optimizer", values=("sgd",)),)
)
FINITE = (OPTIMIZER, MOMENTUM, Parameter(name="depth", domain=Choice(values=(18, 34))))
GRID = DesignSpec(kind="grid")


def take(
    storage: StudyStorage, prunes: Callable[[int, int], bool] = lambda point, replicate: False
) -> Iterator[StudyStorage]:
    """Run trials one after the other until none is left, pruning some."""
    while (assignment := storage.ask()) is not None:
        record = assignment.record
        storage.report(record.trial, metrics(1, 0.5 + record.point / 1000))
        if prunes(record.point, record.replicate):
            storage.stop(record.trial, StopReason.PRUNED)
            storage.tell(record.trial, TrialState.PRUNED, StopReason.PRUNED)
        else:
            storage.tell(record.trial, TrialState.COMPLETE, StopReason.FINISHED)
        yield storage


def places(storage: StudyStorage) -> list[tuple[int, int]]:
    return [(record.point, record.replicate) for record in storage.records()]


def run_all(
    root: Path, spec: StudySpec, prunes: Callable[[int, int], bool] = lambda point, replicate: False
) -> tuple[StudyStorage, StudyLayout]:
    storage, layout = make_storage(root, spec)
    for _ in take(storage, prunes):
        pass
    return storage, layout


def test_a_listed_design_runs_every_point_with_the_first_seed_then_with_the_second(tmp_path: Path) -> None:
    storage, _ = run_all(tmp_path / "s", make_spec(pruner="none", space=FINITE, design=GRID, replicates=3))
    assert places(storage) == [(point, replicate) for replicate in range(3) for point in range(6)]
    points = list(grid_points(FINITE))
    assert all(dict(record.params) == points[record.point] for record in storage.records())
    assert storage.planned == 18
    assert not storage.exhausted


def test_a_search_runs_all_replicates_of_a_point_then_the_next_point(tmp_path: Path) -> None:
    storage, _ = run_all(tmp_path / "s", make_spec(8, pruner="none", replicates=3))
    assert places(storage) == [(trial // 3, trial % 3) for trial in range(8)]
    assert len({str(dict(record.params)) for record in storage.records()}) == 3


def test_the_same_replicate_of_every_point_has_the_same_seed_that_of_its_number(tmp_path: Path) -> None:
    spec = make_spec(6, pruner="none", replicates=2)
    spec = spec.model_copy(update={"replicates": spec.replicates.model_copy(update={"seeds": (7, 3), "count": None})})
    storage, _ = run_all(tmp_path / "s", spec)
    seeds = {(record.replicate, record.seed) for record in storage.records()}
    assert seeds == {(at, stable_seed(3, "replicate", number)) for at, number in enumerate((7, 3))}
    assert all(record.config["seed"] == record.seed for record in storage.records())


def test_a_pruned_points_replicates_are_not_begun_and_a_search_takes_new_points_for_them(tmp_path: Path) -> None:
    storage, _ = run_all(tmp_path / "s", make_spec(10, replicates=3), lambda point, replicate: point % 2 == 1)
    counts = Counter(point for point, _ in places(storage))
    assert counts == {0: 3, 1: 1, 2: 3, 3: 1, 4: 2}
    assert storage.planned == 10


def test_a_pruned_points_replicates_are_left_out_of_a_listed_design(tmp_path: Path) -> None:
    spec = make_spec(space=FINITE, design=GRID, replicates=3)
    storage, layout = make_storage(tmp_path / "s", spec)
    planned = [
        running.planned for running in take(storage, lambda point, replicate: (point, replicate) in ((1, 0), (4, 1)))
    ]
    assert planned[:3] == [18, 16, 16]
    assert planned[-1] == 15 == len(storage.records()) == reopened(layout).planned
    assert places(storage)[6:] == [(0, 1), (2, 1), (3, 1), (4, 1), (5, 1), (0, 2), (2, 2), (3, 2), (5, 2)]


def test_what_a_decision_frees_is_free_before_the_trial_is_told_and_running_replicates_go_on(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(6, replicates=3))
    for _ in range(2):
        storage.ask()
    storage.report(0, metrics(1, 0.5))
    storage.stop(0, StopReason.PRUNED)
    third = storage.ask()
    assert third is not None
    assert (third.record.point, third.record.replicate) == (1, 0)
    again = reopened(layout)
    assignments = [again.ask() for _ in range(3)]
    assert [assignment and (assignment.trial, assignment.stop is not None) for assignment in assignments] == [
        (0, True), (1, False), (2, False),
    ]  # fmt: skip


def test_a_trial_that_a_budget_ends_leaves_its_points_replicates_to_be_run(tmp_path: Path) -> None:
    storage, _ = make_storage(tmp_path / "s", make_spec(space=FINITE, design=GRID, replicates=2))
    assert storage.ask() is not None
    storage.report(0, metrics(1, 0.5))
    storage.stop(0, StopReason.TIME_BUDGET)
    storage.tell(0, TrialState.PRUNED, StopReason.TIME_BUDGET)
    assert storage.planned == 12


def test_a_budget_of_trials_cuts_a_design_and_counts_what_is_run(tmp_path: Path) -> None:
    spec = make_spec(space=FINITE, design=GRID, replicates=2, budget=BudgetSpec(trials=8))
    storage, _ = run_all(tmp_path / "s", spec, lambda point, replicate: point == 0)
    assert storage.planned == 8
    assert places(storage)[6:] == [(1, 1), (2, 1)], "what a pruned point frees goes to the next ones"


@pytest.mark.parametrize("sampler", get_args(SamplerName))
def test_a_search_of_a_finite_space_runs_every_point_once_and_ends(tmp_path: Path, sampler: SamplerName) -> None:
    space = (*FINITE, Parameter(name="head_dropout", domain=Uniform(low=0.0, high=0.1, step=0.05)))
    storage, layout = run_all(tmp_path / "s", make_spec(100, sampler=sampler, pruner="none", space=space))
    keys = [point_key(record.params) for record in storage.records()]
    assert Counter(keys) == Counter(point_key(point) for point in grid_points(space))
    for opened in (storage, reopened(layout)):
        assert opened.planned == 18
        assert opened.exhausted
        assert opened.ask() is None


def test_a_space_that_pruning_leaves_without_points_ends_the_search(tmp_path: Path) -> None:
    spec = make_spec(18, space=FINITE, replicates=3)
    storage, layout = make_storage(tmp_path / "s", spec)
    planned = [opened.planned for opened in take(storage, lambda point, replicate: replicate == 1)]
    assert planned == [18] * 12
    for opened in (storage, reopened(layout)):
        assert opened.ask() is None
        assert opened.planned == 12 == len(opened.records())
        assert opened.exhausted


def test_a_failed_point_is_not_run_again(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(6, pruner="none", space=FINITE))
    for _ in range(6):
        assignment = storage.ask()
        assert assignment is not None
        storage.tell(assignment.trial, TrialState.FAILED, StopReason.ERROR, error="x")
        storage = reopened(layout)
    assert len({point_key(record.params) for record in storage.records()}) == 6


@settings(max_examples=30, deadline=None)
@given(seen=st.sets(st.integers(0, 2999)), seed=st.integers(0, 9))
def test_the_next_unseen_point_depends_on_those_seen_alone(seen: set[int], seed: int) -> None:
    space = (
        Parameter(name="max_epochs", domain=Integer(low=1, high=60)),
        Parameter(name="batch_size", domain=Integer(low=2, high=51)),
    )
    spec = make_spec(space=space, seed=seed)
    points = list(grid_points(space))
    keys = {point_key(points[number]) for number in seen}
    lasting = UnvisitedPoints(spec)
    for _ in range(3):
        point = lasting.next(keys)
        assert point == UnvisitedPoints(spec).next(keys)
        assert point is not None
        assert point_key(point) not in keys
        keys.add(point_key(point))
    assert UnvisitedPoints(spec).next({point_key(point) for point in points}) is None


def test_a_huge_space_is_not_listed_for_its_next_point() -> None:
    smoothing = Parameter(name="label_smoothing", domain=Uniform(low=0.0, high=0.9, step=1e-9))
    point = UnvisitedPoints(make_spec(space=(smoothing,))).next(set())
    assert point is not None
    assert float(point["label_smoothing"]) < 1e-5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "first, second, same", [({"a": 1}, {"a": 1.0}, True), ({"a": True}, {"a": 1}, False), ({"a": "1"}, {"a": 1}, False)]
)
def test_a_point_is_the_same_by_its_values(first: dict[str, Scalar], second: dict[str, Scalar], same: bool) -> None:
    assert (point_key(first) == point_key(second)) is same


def test_an_extended_search_goes_on_where_it_was(tmp_path: Path) -> None:
    spec = make_spec(5, pruner="none", replicates=2)
    storage, layout = run_all(tmp_path / "s", spec)
    storage.note_end()
    assert storage.is_finished
    longer = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": 9})})
    storage.extend(longer)
    assert (storage.spec, storage.planned, storage.is_finished, storage.end_reason) == (longer, 9, False, None)
    storage = reopened(layout)
    assert storage.spec == longer
    assert storage.given == spec
    assert [trial["changes"] for trial in storage.extensions] == [{"search.trials": [5, 9]}]
    for _ in take(storage):
        pass
    whole, _ = run_all(tmp_path / "whole", longer)
    assert places(storage) == places(whole)
    assert [record.params for record in storage.records()] == [record.params for record in whole.records()]


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_more_seeds_run_every_point_again(tmp_path: Path, kind: str) -> None:
    design = DesignSpec(kind=kind)  # type: ignore[arg-type]
    spec = make_spec(6, pruner="none", space=FINITE, design=design)
    storage, _ = run_all(tmp_path / "s", spec)
    more = {"search": spec.search.model_copy(update={"trials": 12})}
    storage.extend(spec.model_copy(update={"replicates": spec.replicates.model_copy(update={"count": 2}), **more}))
    assert storage.planned == 12
    for _ in take(storage):
        pass
    assert sorted(places(storage)) == sorted((point, replicate) for point in range(6) for replicate in range(2))


def test_a_search_in_an_infinite_space_has_no_end_of_its_own(tmp_path: Path) -> None:
    storage, _ = run_all(tmp_path / "s", make_spec(30, pruner="none", space=(OPTIMIZER, SPACE[1])))
    assert len({point_key(record.params) for record in storage.records()}) == 30
    assert sum(record.params["optimizer"] == "adam" for record in storage.records()) == 1


def with_depths(*depths: int) -> tuple[Parameter, ...]:
    return (OPTIMIZER, Parameter(name="depth", domain=Choice(values=depths)), MOMENTUM)


@pytest.mark.parametrize("kind", ["grid", "one_factor", "factorial"])
@pytest.mark.parametrize("begun", [0, 1, 3, 5, 20])
@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_further_level_runs_only_its_new_points(tmp_path: Path, kind: str, begun: int, killed_after: int) -> None:
    """Whatever had run before, and after a kill in between, each point is run once per seed and none is renumbered."""
    baseline = {"optimizer": "sgd", "depth": 18, "momentum": 0.9} if kind == "one_factor" else {}
    design = DesignSpec.model_validate({"kind": kind, "baseline": baseline})
    spec = make_spec(1, pruner="none", space=with_depths(18, 34), design=design, replicates=2)
    wider = spec.model_copy(update={"space": with_depths(10, 18, 34)})
    storage, layout = make_storage(tmp_path / "s", spec)
    for _ in zip(range(begun), take(storage), strict=False):
        pass
    before = storage.records()
    assert len(before) == min(begun, storage.planned)
    storage.extend(wider)
    for _ in zip(range(killed_after), take(storage), strict=False):
        pass
    storage.ask()  # the driver is killed amid this trial
    storage = reopened(layout)
    for _ in take(storage):
        pass
    records = storage.records()
    points = {point_key(point) for point in listed_points(wider) or ()}
    assert [(record.point, record.replicate, record.config) for record in records[: len(before)]] == [
        (record.point, record.replicate, record.config) for record in before
    ]
    assert Counter((point_key(record.params), record.replicate) for record in records) == Counter(
        (point, replicate) for point in points for replicate in range(2)
    )
    assert {record.point: point_key(record.params) for record in records}.keys() == set(range(len(points)))
    assert len({(record.point, point_key(record.params)) for record in records}) == len(points)
    assert len({record.config["seed"] for record in records}) == 2, "one per replicate, as before"
    assert len(records) == storage.planned == len(points) * 2
    assert read_study(layout).planned == storage.planned
    storage.note_end()
    assert storage.is_finished


def test_optunas_own_readers_take_a_study_with_a_further_level(tmp_path: Path) -> None:
    spec = make_spec(1, pruner="none", space=with_depths(18, 34), design=GRID)
    storage, layout = run_all(tmp_path / "s", spec)
    storage.extend(spec.model_copy(update={"space": with_depths(10, 18, 34)}))
    for _ in take(storage):
        pass
    study = optuna.load_study(
        study_name=None,
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(layout.journal))),
    )
    assert len(study.trials_dataframe()) == 9
    assert set(optuna.importance.get_param_importances(study)) <= {"optimizer", "depth", "momentum"}

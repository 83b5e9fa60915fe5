"""Every sampler: suggests within the space, suggests after a resume what it would have, and learns what it is told."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import get_args

import optuna
import pytest
from engine_fakes import SPACE, make_spec, make_storage, metrics, reopened
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.config.search_config import Objective, SamplerName
from study.config.search_space import Choice, Condition, Exclusion, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs.space import is_active
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.search.observations import RecentObservations, TopAndRandomSample
from study.search.optuna_adapter import PointStorage, StreamSampler, frozen_point, study_directions
from study.search.samplers import SAMPLERS, Stream, value_at
from study.search.space import suggest
from study.storage.study_storage import StudyStorage
from study.trials.serialization import Assignment

optuna.logging.set_verbosity(optuna.logging.WARNING)
EVERY = get_args(SamplerName)
RICH = (
    *SPACE,
    Parameter(
        name="init",
        domain=Choice(values=("kaiming", "xavier", "orthogonal")),
        excluded=(Exclusion(value="orthogonal", beside=Condition(parameter="optimizer", values=("adam",))),),
    ),
    Parameter(name="weight_decay", domain=Uniform(low=0.0, high=0.3, step=0.1)),
    Parameter(name="head_width", domain=Integer(low=16, high=1024, log=True)),
)


def score(assignment: Assignment) -> float:
    """Give a value that depends on the configuration, best at a learning rate of 0.01."""
    return 0.9 - 0.1 * abs(math.log10(assignment.config.learning_rate) + 2.0) + assignment.record.replicate / 1000


def end(storage: StudyStorage, assignment: Assignment) -> None:
    """Take a trial to an end: every seventh fails, every fifth is pruned."""
    number = assignment.trial
    if number % 7 == 6:
        storage.tell(number, TrialState.FAILED, StopReason.ERROR, error="x")
        return
    storage.report(number, metrics(1, score(assignment)))
    if number % 5 == 4:
        storage.stop(number, StopReason.PRUNED)
        storage.tell(number, TrialState.PRUNED, StopReason.PRUNED)
    else:
        storage.tell(number, TrialState.COMPLETE, StopReason.FINISHED)


def run(root: Path, spec: StudySpec, *, resumes: bool, at_once: int = 2) -> list[object]:
    """Run a whole study with some trials at once, each time with another driver if it resumes."""
    storage, layout = make_storage(root, spec)
    running: list[Assignment] = []
    while True:
        if resumes:
            storage = with_interrupted(layout, len(running))
        while len(running) < at_once and (assignment := storage.ask()) is not None:
            running.append(assignment)
        if not running:
            return [(record.point, record.replicate, record.state, dict(record.params)) for record in storage.records()]
        end(storage, running.pop(0))


def with_interrupted(layout: StudyLayout, count: int) -> StudyStorage:
    storage = reopened(layout)
    for _ in range(count):
        storage.ask()
    return storage


@pytest.mark.parametrize(
    "sampler, replicates", [*((name, 1) for name in EVERY), *((name, 2) for name in EVERY if name != "gp")]
)
def test_a_resumed_study_suggests_what_an_uninterrupted_one_would(
    tmp_path: Path, sampler: SamplerName, replicates: int
) -> None:
    trials = {"nsga2": 36, "gp": 13}.get(sampler, 24)  # more than any begins with at random
    spec = make_spec(trials * replicates, sampler=sampler, pruner="none", space=RICH, replicates=replicates)
    whole = run(tmp_path / "whole", spec, resumes=False)
    assert whole == run(tmp_path / "resumed", spec, resumes=True)
    assert len(whole) == trials * replicates
    other = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": 4})})
    assert whole != run(tmp_path / "other", other, resumes=False)


@pytest.mark.parametrize("sampler", EVERY)
def test_suggestions_keep_conditions_exclusions_and_ranges(tmp_path: Path, sampler: SamplerName) -> None:
    trials = 14 if sampler == "gp" else 40
    spec = make_spec(trials, sampler=sampler, pruner="none", space=RICH)
    run(tmp_path / "s", spec, resumes=False)
    records = StudyStorage.open(StudyLayout(tmp_path / "s")).records()
    assert {record.params["init"] for record in records} == {"kaiming", "xavier", "orthogonal"}
    for record in records:
        assert set(record.params) == {parameter.name for parameter in RICH if is_active(parameter, record.params)}
        assert not (record.params["optimizer"] == "adam" and record.params["init"] == "orthogonal")
        assert record.params["weight_decay"] in (0.0, 0.1, 0.2, 0.3)
        assert 1e-4 <= record.params["learning_rate"] <= 1e-1  # type: ignore[operator]
        assert 16 <= record.params["head_width"] <= 1024  # type: ignore[operator]
    assert len({str(dict(record.params)) for record in records}) == trials


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_samplers_that_learn_come_closer_than_chance(tmp_path: Path, sampler: SamplerName) -> None:
    space = (SPACE[2], Parameter(name="weight_decay", domain=Uniform(low=1e-6, high=1e-1, log=True)))
    trials = 18 if sampler == "gp" else 50
    storage, _ = make_storage(tmp_path / "s", make_spec(trials, sampler=sampler, pruner="none", space=space))
    away = []
    while (assignment := storage.ask()) is not None:
        config = assignment.config
        distance = abs(math.log10(config.learning_rate) + 2.0) + abs(math.log10(config.weight_decay) + 4.0)
        away.append(distance)
        storage.report(assignment.trial, metrics(1, 1.0 - distance / 10))
        storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
    last = away[12 if sampler == "gp" else 30 :]
    assert sum(last) / len(last) < 0.6 * sum(away[:10]) / 10, away


def test_nsga2_goes_through_generations_that_a_resume_goes_on_with(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s", make_spec(70, sampler="nsga2", pruner="none"))
    for _ in range(70):
        assignment = storage.ask()
        assert assignment is not None
        storage.report(assignment.trial, metrics(1, score(assignment)))
        storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
        storage = reopened(layout)
    trials = stored(layout).trials
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in trials]
    assert generations == sorted(generations)
    assert set(generations) == {0, 1, 2, 3}
    mean = [
        sum(trial.value for trial in trials if trial.system_attrs["NSGAIISampler:generation"] == at) for at in (0, 2)
    ]
    assert mean[1] > mean[0]


def test_optuna_opens_the_storage_as_it_stands(tmp_path: Path) -> None:
    run(tmp_path / "s", make_spec(12, sampler="tpe", pruner="none"), resumes=False)
    study, records = stored(StudyLayout(tmp_path / "s")), StudyStorage.open(StudyLayout(tmp_path / "s")).records()
    assert study.best_value == max(
        record.value for record in records if record.state is TrialState.COMPLETE and record.value
    )
    for trial, record in zip(study.trials, records, strict=True):
        assert trial.params == dict(record.params)
        assert trial.intermediate_values == {epoch.epoch: epoch.values["val_auc"] for epoch in record.history}


def stored(layout: StudyLayout) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(layout.journal)))
    return optuna.load_study(study_name="crash", storage=storage)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc", "nsga2"])
def test_several_objectives_have_all_their_values(tmp_path: Path, sampler: SamplerName) -> None:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="train_loss", mode="min"))
    spec = make_spec(16, sampler=sampler, pruner="none", objectives=objectives)
    storage, layout = make_storage(tmp_path / "s", spec)
    while (assignment := storage.ask()) is not None:
        storage.report(assignment.trial, metrics(1, score(assignment)))
        storage.report(assignment.trial, metrics(2, 0.0))
        storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
    study = stored(layout)
    assert study.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert all(trial.values == [trial.intermediate_values[1], 1.0] for trial in study.trials), "at the selected epoch"


def test_every_sampler_of_the_study_file_exists() -> None:
    assert tuple(SAMPLERS) == EVERY


def drawn(
    spec: StudySpec, sampler: SamplerName, number: int, points: list[FrozenTrial] | None = None
) -> dict[str, object]:
    """Draw a point as a searcher does."""
    storage = PointStorage()
    study = optuna.create_study(storage=storage, directions=study_directions(spec))
    storage.show(points or [], number, {})
    study.sampler = StreamSampler(lambda name: SAMPLERS[sampler].make(Stream(spec, number, number, 0, name)))
    return dict(suggest(study.ask(), spec.space))


def test_sobol_points_fill_every_range_evenly_conditional_ones_included() -> None:
    space = (Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))), *RICH[1:])
    spec = make_spec(space=space)
    points = [drawn(spec, "qmc", number) for number in range(64)]
    assert [point["optimizer"] for point in points].count("sgd") == 32
    places = sorted((math.log10(float(point["learning_rate"])) + 4) / 3 for point in points)  # type: ignore[arg-type]
    assert all(at / 64 <= place <= (at + 1) / 64 for at, place in enumerate(places)), "one in each of 64 equal parts"
    momenta = sorted(float(point["momentum"]) for point in points if "momentum" in point)  # type: ignore[arg-type]
    gaps = [after - before for before, after in pairwise(momenta)]
    assert max(gaps) < 0.12, "32 points of it are not a grid, but leave no hole"


@pytest.mark.parametrize(
    "asked, values",
    [
        (CategoricalDistribution(("a", "b", "c")), ["a", "b", "c"]),
        (IntDistribution(2, 8, step=3), [2, 5, 8]),
        (FloatDistribution(0.0, 1.0), [0.0, 0.5, 1.0 - 1e-12]),
        (FloatDistribution(0.1, 0.3, step=0.1), [0.1, 0.2, pytest.approx(0.3)]),
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, pytest.approx(1e-2), pytest.approx(1.0)]),
        (IntDistribution(1, 100, log=True), [1, 7, 100]),
    ],
)
def test_a_share_of_a_domain_is_a_value_of_it(asked: object, values: list[object]) -> None:
    drawn_values = [value_at(asked, share) for share in (0.0, 0.5, 1.0 - 1e-12)]  # type: ignore[arg-type]
    assert drawn_values == (pytest.approx(values) if isinstance(values[0], float) else values)


def ended(number: int, value: float | None, x: float = 0.05) -> FrozenTrial:
    return frozen_point(
        number,
        OptunaState.PRUNED if value is None else OptunaState.COMPLETE,
        {"learning_rate": x},
        {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True)},
        values=None if value is None else [value],
        reported={1: 0.5},
    )


def shuffled(count: int) -> list[int]:
    return [number * 389 % count for number in range(count)]


def test_what_tpe_is_shown_depends_on_the_points_and_not_on_their_order() -> None:
    points = [ended(number, None if number % 3 == 0 else number * 7 % 1009 / 1009, 0.01) for number in range(1000)]
    there, elsewhere = (TopAndRandomSample(make_spec(), best=50, others=200, pruned=True) for _ in range(2))
    for number in range(1000):
        there.add(points[number])
    for number in shuffled(1000):
        elsewhere.add(points[number])
        elsewhere.shown()
    shown = sorted(point.number for point in there.shown())
    assert shown == sorted(point.number for point in elsewhere.shown())
    assert len(shown) == 250
    best = sorted((point for point in points if point.state is OptunaState.COMPLETE), key=lambda point: -point.value)[
        :50
    ]
    assert {point.number for point in best} <= set(shown)
    assert 40 < sum(point % 3 == 0 for point in shown) < 110, "the rest is a fair sample"


def test_tpes_good_group_is_the_one_it_has_of_all_points() -> None:
    from optuna.samplers._tpe.sampler import _split_trials

    points = [ended(number, number * 7 % 1009 / 1009, 0.01) for number in range(1000)]
    selection = TopAndRandomSample(make_spec(), best=50, others=200, pruned=True)
    for point in points:
        selection.add(point)
    study = optuna.create_study(direction="maximize")
    of_all, _ = _split_trials(study, points, 25)
    of_shown, _ = _split_trials(study, sorted(selection.shown(), key=lambda point: point.number), 25)
    assert [point.number for point in of_shown] == [point.number for point in of_all]


def test_with_several_objectives_the_front_is_shown() -> None:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="train_loss", mode="min"))
    selection = TopAndRandomSample(make_spec(pruner="none", objectives=objectives), best=50, others=20, pruned=True)
    front = set()
    for number in shuffled(500):
        trial = ended(number, 0.0)
        quality = 1.0 if number % 50 == 7 else 0.5
        trial.values = [number / 500 * quality, number / 500 / quality]
        front |= {number} if quality == 1.0 else set()
        selection.add(trial)
    shown = {point.number for point in selection.shown()}
    assert front <= shown
    assert 20 < len(shown) <= 70


@pytest.mark.parametrize("count, shown", [(10, range(80, 100, 2)), (None, range(0, 100, 2))])
def test_the_recent_points_are_shown_in_order(count: int | None, shown: range) -> None:
    selection = RecentObservations(count)
    for number in shuffled(100):
        selection.add(ended(number, None if number % 2 else 0.5))
    assert [point.number for point in selection.shown()] == list(shown)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_looks_at_no_more_than_it_is_shown(sampler: SamplerName) -> None:
    spec = make_spec(space=SPACE[2:])
    points = [ended(number, number * 7 % 101 / 101, 10 ** -(1 + number * 3 / 400)) for number in range(400)]
    selection = SAMPLERS[sampler].observations(spec)
    for point in points:
        selection.add(point)
    shown = sorted(selection.shown(), key=lambda point: point.number)
    assert len(shown) == {"tpe": 250, "gp": 100}[sampler]
    assert drawn(spec, sampler, 400, shown).keys() == {"learning_rate"}

"""Pruners decide from what was reported, the same way however often they are asked and whenever they were made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import optuna
import pytest
from engine_fakes import make_spec, make_storage, metrics, reopened
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner, PercentilePruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.trial import FrozenTrial, TrialState

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective, PrunerName, SearchSpec
from study.config.search_space import Choice, Constant, Domain, Integer, Parameter
from study.config.study_config import StudySpec
from study.records import StopReason
from study.records import TrialState as State
from study.search.pruners import (
    PRUNERS,
    AsynchronousHalving,
    Hyperband,
    Percentile,
    SignedRanks,
    build_pruner,
    first_age,
    longest,
)
from study.storage.study_storage import StudyStorage
from study.trials.listener import replay_trials

optuna.logging.set_verbosity(optuna.logging.WARNING)
CURVES = st.lists(st.lists(st.integers(0, 9), min_size=9, max_size=9), min_size=1, max_size=12)


class Study:
    """Trials that report in any order, to one of our pruners and to an Optuna study beside it."""

    def __init__(self, pruner: PrunerName, *, largest: bool) -> None:
        self.pruner = pruner
        self.storage = optuna.storages.InMemoryStorage()
        self.optuna = optuna.create_study(storage=self.storage, direction="maximize" if largest else "minimize")

    def ask(self) -> optuna.Trial:
        trial = self.optuna.ask()
        self.pruner.on_ask(self.frozen(trial))
        return trial

    def frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.optuna.get_trials(deepcopy=False)[trial.number]

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        self.pruner.on_report(self.frozen(trial), epoch)
        stops = self.pruner.stops(self.frozen(trial))
        assert self.pruner.stops(self.frozen(trial)) is stops, "asked again, it says the same"
        return stops

    def tell(self, trial: optuna.Trial, value: float | None) -> None:
        self.optuna.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
        self.pruner.on_tell(self.frozen(trial))

    def says_optuna(self, reference: BasePruner, trial: optuna.Trial) -> bool:
        return bool(reference.prune(self.optuna, self.frozen(trial)))


def run(
    study: Study,
    curves: Sequence[Sequence[float]],
    choose: Callable[[list[int]], int],
    check: Callable[[optuna.Trial, int, float, bool], None],
) -> None:
    """Let trials advance in any order until each was stopped or came to its end."""
    trials = [study.ask() for _ in curves]
    running, epochs = list(range(len(curves))), [0] * len(curves)
    while running:
        at = choose(running)
        epochs[at] += 1
        epoch, value = epochs[at], curves[at][epochs[at] - 1]
        stops = study.report(trials[at], epoch, value)
        check(trials[at], epoch, value, stops)
        if stops or epoch == len(curves[at]):
            running.remove(at)
            study.tell(trials[at], None if stops else float(value))


def plainly_kept(value: float, reached: list[float], factor: int, *, largest: bool) -> bool:
    """Give ASHA's rule in its simplest form: of those that reached the rung the best 1/factor, at least one."""
    better = sum(other > value if largest else other < value for other in reached)
    return better < max(1, (len(reached) + 1) // factor)


@settings(max_examples=60, deadline=None)
@given(curves=CURVES, factor=st.integers(2, 4), first=st.integers(1, 3), largest=st.booleans(), order=st.randoms())
def test_asha_decides_like_the_plain_rule_and_like_optuna(
    curves: list[list[float]], factor: int, first: int, largest: bool, order: object
) -> None:
    study = Study(AsynchronousHalving(first, factor, largest=largest), largest=largest)
    reference = SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
    rungs = {first * factor**power: list[float]() for power in range(5)}

    def check(trial: optuna.Trial, epoch: int, value: float, stops: bool) -> None:
        kept = epoch not in rungs or plainly_kept(value, rungs[epoch], factor, largest=largest)
        assert stops is not kept
        assert study.says_optuna(reference, trial) is stops
        rungs.get(epoch, []).append(value)

    run(study, curves, order.choice, check)  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(curves=CURVES, percent=st.sampled_from([25.0, 50.0, 60.0]), largest=st.booleans(), order=st.randoms())
def test_percentile_decides_like_optuna(
    curves: list[list[float]], percent: float, largest: bool, order: object
) -> None:
    study = Study(Percentile(percent, 2, largest=largest), largest=largest)
    reference = PercentilePruner(percent, n_startup_trials=5, n_warmup_steps=1)

    def check(trial: optuna.Trial, epoch: int, value: float, stops: bool) -> None:
        assert stops is study.says_optuna(reference, trial) or epoch < 2

    run(study, curves * 2, order.choice, check)  # type: ignore[attr-defined]


def test_hyperband_holds_points_against_those_of_their_bracket_only() -> None:
    pruner = Hyperband(1, 2, 8, largest=True)
    study = Study(pruner, largest=True)
    brackets = Counter(pruner.bracket_of(study.frozen(study.ask())) for _ in range(1000))
    shares = [8.0, 16 / 3, 4.0, 4.0]  # 4 brackets of ceil(4 * 2 ** s / (s + 1)) points, s = 3 .. 0
    expected = [math.ceil(share) / sum(map(math.ceil, shares)) for share in shares]
    assert [brackets[at] / 1000 for at in range(4)] == pytest.approx(expected, abs=0.01)

    trials = [study.ask() for _ in range(60)]
    bracket_of = [pruner.bracket_of(study.frozen(trial)) for trial in trials]
    weak = {at: next(trial for trial, of in zip(trials, bracket_of, strict=True) if of == at) for at in range(4)}
    for trial, at in zip(trials, bracket_of, strict=True):
        if trial is not weak[at]:
            for epoch in range(1, 9):
                study.report(trial, epoch, 1.0)
    first = {}
    for at, trial in weak.items():
        stopped = [study.report(trial, epoch, 0.0) for epoch in range(1, 9)]
        first[at] = stopped.index(True) + 1
    assert first == {0: 1, 1: 2, 2: 4, 3: 8}


def test_hyperband_is_asha_where_there_is_one_bracket() -> None:
    pruner = Hyperband(4, 2, 7, largest=True)
    study = Study(pruner, largest=True)
    good, bad = study.ask(), study.ask()
    for epoch in range(1, 5):
        assert not study.report(good, epoch, 1.0)
    assert [study.report(bad, epoch, 0.0) for epoch in range(1, 5)] == [False, False, False, True]


@pytest.mark.parametrize(
    "domain, epochs",
    [(None, 10), (Constant(value=3), 3), (Choice(values=(4, 40)), 40), (Integer(low=2, high=12), 12)],
)
def test_the_longest_trial_is_that_of_the_space(domain: Domain | None, epochs: int) -> None:
    space = () if domain is None else (Parameter(name="max_epochs", domain=domain),)
    assert longest(StudySpec(name="x", space=space)) == epochs


@pytest.mark.parametrize("values, stops_at", [([1, 2, 2, 1, 2], 5), ([1, 2, 3, 4, 5], None), ([5, 1, 1, 1, 9], 4)])
def test_patience_counts_epochs_without_a_better_value(values: list[float], stops_at: int | None) -> None:
    spec = StudySpec(name="x", search=SearchSpec(pruner="patient", patience=3, min_epochs=2))
    study = Study(build_pruner(spec), largest=True)
    trial = study.ask()
    stopped = [study.report(trial, epoch, value) for epoch, value in enumerate(values, start=1)]
    assert (stopped.index(True) + 1 if any(stopped) else None) == stops_at
    assert not study.pruner.depends_on_others(3)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@settings(max_examples=80, deadline=None)
@given(
    theirs=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    mine=st.lists(st.integers(0, 9), min_size=2, max_size=6),
    largest=st.booleans(),
)
def test_signed_ranks_decide_like_optunas_rule_with_replicates_as_steps(
    theirs: list[int], mine: list[int], largest: bool
) -> None:
    ranks = SignedRanks(0.1, largest=largest)
    for replicate, value in enumerate(theirs):
        ranks.put(0, replicate, value)
    for replicate, value in enumerate(mine[:-1]):
        ranks.put(1, replicate, value)
    study = optuna.create_study(direction="maximize" if largest else "minimize")
    best, judged = study.ask(), study.ask()
    for step, value in enumerate(theirs):
        best.report(value, step)
    study.tell(best, sum(theirs) / 6)
    for step, value in enumerate(mine):
        judged.report(value, step)
    said = WilcoxonPruner(p_threshold=0.1, n_startup_steps=0).prune(study, study.get_trials(deepcopy=False)[1])
    assert ranks.is_worse(1, len(mine) - 1, mine[-1]) is said


def test_signed_ranks_hold_a_point_against_those_with_as_many_values() -> None:
    ranks = SignedRanks(0.1, largest=True)
    ranks.put(0, 0, 99.0)  # lucky once
    for replicate in range(4):
        ranks.put(1, replicate, 0.5 + replicate / 100)
        ranks.put(2, replicate, 0.1 + replicate / 100)
    assert not ranks.is_worse(3, 3, 0.6), "one pair says nothing"
    for replicate in range(3):
        ranks.put(3, replicate, 0.4 + replicate / 100)
    assert ranks.is_worse(3, 3, 0.43), "of four pairs each is worse: p = 1/16"
    assert not ranks.is_worse(3, 3, 0.99)


def test_wilcoxon_ends_the_replicates_of_a_worse_point_for_ever(tmp_path: Path) -> None:
    spec = make_spec(trials=24, pruner="wilcoxon", replicates=6)
    storage, layout = make_storage(tmp_path / "s", spec)
    values = {0: 0.9, 1: 0.5, 2: 0.95, 3: 0.4}
    ran: list[tuple[int, int]] = []
    while (assignment := storage.ask()) is not None:
        record = assignment.record
        ran.append((record.point, record.replicate))
        storage.report(record.trial, metrics(1, values.get(record.point, 0.1) + record.replicate / 1000))
        assert not storage.should_prune(record.trial), "a running trial is not stopped"
        storage.tell(record.trial, State.COMPLETE, StopReason.FINISHED)
        storage = reopened(layout)
    whole = [(point, replicate) for point in (0, 2) for replicate in range(6)]
    assert sorted(run for run in ran if run[0] in (0, 2)) == whole
    assert [run for run in ran if run[0] == 1] == [(1, replicate) for replicate in range(4)]
    assert len(ran) == 24 == storage.planned, "the trials this frees go to new points"


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "percentile"])
def test_a_pruner_made_anew_decides_as_the_one_that_saw_all_happen(name: PrunerName, mode: str) -> None:
    spec = StudySpec(
        name="x",
        objective=Objective(metric="val_auc", mode=mode),  # type: ignore[arg-type]
        search=SearchSpec(pruner=name, min_epochs=1, percentile=40.0),
    )
    study = Study(build_pruner(spec), largest=mode == "max")
    decided = []

    def check(trial: optuna.Trial, epoch: int, value: float, stops: bool) -> None:
        again = build_pruner(spec)
        replay_trials(reversed(study.optuna.get_trials(deepcopy=False)), again)
        decided.append(stops)
        assert again.stops(study.frozen(trial)) is stops

    curves = [[float((7 * trial + 3 * epoch) % 11) for epoch in range(9)] for trial in range(12)]
    run(study, curves, lambda running: running[0 if len(running) > 6 else len(decided) * 5 % len(running)], check)
    assert {True, False} == set(decided)


def test_an_epoch_trained_again_takes_the_old_values_place_on_its_rung() -> None:
    study = Study(AsynchronousHalving(1, 2, largest=True), largest=True)
    first, second, third = study.ask(), study.ask(), study.ask()
    study.report(first, 1, 9.0)
    study.report(second, 1, 5.0)
    study.storage.set_trial_intermediate_value(first.number, 1, 1.0)
    study.pruner.on_report(study.frozen(first), 1)
    assert not study.report(third, 1, 6.0), "the 9 is gone"


def test_a_value_that_is_no_number_stops_the_trial_and_is_held_against_nobody() -> None:
    study = Study(AsynchronousHalving(1, 2, largest=True), largest=True)
    broken, plain = study.ask(), study.ask()
    assert study.report(broken, 1, math.nan)
    assert not study.report(plain, 1, 0.0)


@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "percentile"])
@pytest.mark.parametrize("min_epochs", [1, 2, 4])
def test_no_pruner_stops_a_trial_before_its_age_and_each_may_at_it(name: PrunerName, min_epochs: int) -> None:
    spec = StudySpec(name="x", search=SearchSpec(pruner=name, min_epochs=min_epochs, reduction_factor=4))
    study = Study(build_pruner(spec), largest=True)
    for _ in range(8):
        good = study.ask()
        for epoch in range(1, 6):
            study.report(good, epoch, 1.0)
        study.tell(good, 1.0)
    firsts = []
    for _ in range(8):  # not all of them are in Hyperband's first bracket
        bad = study.ask()
        stopped = [study.report(bad, epoch, 0.0) for epoch in range(1, 6)]
        firsts += [stopped.index(True) + 1] if any(stopped) else []
    assert min(firsts) == min_epochs


@pytest.mark.parametrize("name", get_args(PrunerName))
def test_every_pruner_decides_after_a_resume_as_without(tmp_path: Path, name: PrunerName) -> None:
    def told(folder: str, *, resumes: bool) -> list[object]:
        spec = make_spec(trials=12, epochs=6, pruner=name, seed=5, replicates=2)
        storage, layout = make_storage(tmp_path / folder, spec)
        while (assignment := storage.ask()) is not None:
            state, reason = State.COMPLETE, StopReason.FINISHED
            for epoch in range(1, 7):
                value = (assignment.trial * 37 + epoch * 11) % 17 / 17
                storage.report(assignment.trial, metrics(epoch, value))
                if resumes:
                    storage = again(layout, assignment.trial)
                if epoch < 6 and storage.should_prune(assignment.trial):
                    state, reason = State.PRUNED, StopReason.PRUNED
                    break
            storage.tell(assignment.trial, state, reason)
        return [
            (record.point, record.replicate, record.state, record.epochs_run, dict(record.params))
            for record in storage.records()
        ]

    def again(layout: object, trial: int) -> StudyStorage:
        storage = reopened(layout)  # type: ignore[arg-type]
        assert storage.ask() == storage.assignment(trial)
        return storage

    assert told("whole", resumes=False) == told("resumed", resumes=True)


@pytest.mark.parametrize(("max_epochs", "first"), [(1, 1), (4, 1), (8, 2), (16, 4), (100, 4)])
def test_without_an_age_trials_may_stop_at_a_quarter_of_their_epochs(max_epochs: int, first: int) -> None:
    spec = StudySpec(name="x", trial=Hyperparameters(max_epochs=max_epochs))
    assert first_age(spec) == first
    pruner = build_pruner(spec)
    assert next(epoch for epoch in range(1, 9) if pruner.depends_on_others(epoch)) == first
    given = spec.model_copy(update={"search": SearchSpec(min_epochs=1)})
    assert first_age(given) == 1


def test_every_pruner_of_the_study_file_exists() -> None:
    assert set(PRUNERS) == set(get_args(PrunerName))

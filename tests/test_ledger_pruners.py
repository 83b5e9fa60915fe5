"""Pruners decide from what was reported, the same way however often they are asked."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState

from study.ledger.pruners import PRUNERS, AsynchronousHalving, build_pruner
from study.spec import Pruner as PrunerName
from study.spec import SearchSpec, StudySpec, choices_of

optuna.logging.set_verbosity(optuna.logging.WARNING)
CURVES = st.lists(st.lists(st.integers(0, 9), min_size=9, max_size=9), min_size=1, max_size=12)


def plainly_kept(value: float, reached: list[float], factor: int, *, largest: bool) -> bool:
    """Give ASHA's rule in its simplest form: of those that reached the rung the best 1/factor, at least one."""
    better = sum(one > value if largest else one < value for one in reached)
    return better < max(1, (len(reached) + 1) // factor)


@settings(max_examples=60, deadline=None)
@given(curves=CURVES, factor=st.integers(2, 4), first=st.integers(1, 3), largest=st.booleans(), order=st.randoms())
def test_asha_decides_like_the_plain_rule_and_like_optuna(
    curves: list[list[int]], factor: int, first: int, largest: bool, order: object
) -> None:
    direction = "maximize" if largest else "minimize"
    ours, theirs = (optuna.create_study(direction=direction) for _ in range(2))
    pruner = AsynchronousHalving(first, factor)
    reference = SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
    trials = [(ours.ask(), theirs.ask(), curve) for curve in curves]
    rungs = {first * factor**power: list[float]() for power in range(5)}
    running = list(range(len(trials)))
    epochs = dict.fromkeys(running, 0)
    while running:
        at = order.choice(running)  # type: ignore[attr-defined]
        mine, other, curve = trials[at]
        epochs[at] += 1
        epoch, value = epochs[at], curve[epochs[at] - 1]
        mine.report(value, epoch)
        other.report(value, epoch)
        frozen = ours.get_trials(deepcopy=False)[at]
        kept = epoch not in rungs or plainly_kept(value, rungs[epoch], factor, largest=largest)
        assert pruner.prune(ours, frozen) is not kept
        assert pruner.prune(ours, frozen) is not kept, "asked again, it says the same"
        assert reference.prune(theirs, theirs.get_trials(deepcopy=False)[at]) is not kept
        rungs.get(epoch, []).append(value)
        if not kept or epoch == len(curve):
            running.remove(at)
            state = TrialState.COMPLETE if kept else TrialState.PRUNED
            for one, study in ((mine, ours), (other, theirs)):
                study.tell(one, float(value) if kept else None, state=state)


def test_a_value_that_is_no_number_stops_the_trial() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.report(math.nan, 1)
    assert AsynchronousHalving(1, 2).prune(study, study.get_trials()[0])


@pytest.mark.parametrize("name", ["asha", "median"])
@pytest.mark.parametrize("min_epochs", [1, 2, 4])
def test_no_pruner_stops_a_trial_before_its_age_and_each_may_at_it(name: PrunerName, min_epochs: int) -> None:
    study = optuna.create_study(direction="maximize")
    for _ in range(6):
        good = study.ask()
        for epoch in range(1, 6):
            good.report(1.0, epoch)
        study.tell(good, 1.0)
    pruner, bad = build_pruner(StudySpec(name="x", search=SearchSpec(pruner=name, min_epochs=min_epochs))), study.ask()
    first = None
    for epoch in range(1, 6):
        bad.report(0.0, epoch)
        if pruner.prune(study, study.get_trials(deepcopy=False)[-1]):
            first = first or epoch
    assert first == min_epochs


def test_every_pruner_of_the_study_file_exists() -> None:
    assert set(PRUNERS) == set(choices_of(PrunerName))

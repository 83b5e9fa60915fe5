"""What differs between two versions of a study, and which differences only add."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import make_spec, make_storage

from cli.commands.extend import Additions, extend_study, extension_of, require_effect
from study.config.search_config import BudgetSpec, DesignSpec, KeepSpec, ReplicatesSpec, ResourceSpec
from study.config.search_space import Choice, Condition, Constant, Domain, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs.changes import changes
from study.designs.formatting import format_parameter
from study.errors import StudyStorageError, UsageError
from study.paths import StudyLayout
from study.records import StopReason
from study.storage.study_storage import StudyStorage

BASE = make_spec(trials=4)


def altered(**fields: object) -> StudySpec:
    return BASE.model_copy(update=fields)


def searching(**fields: object) -> StudySpec:
    return altered(search=BASE.search.model_copy(update=fields))


@pytest.mark.parametrize(
    ("later", "said", "extends"),
    [
        (searching(trials=6), "search.trials: 4 -> 6", True),
        (searching(trials=3), "search.trials: 4 -> 3", False),
        (searching(seed=9), "search.seed: 3 -> 9", False),
        (searching(pruner=None), None, True),
        (searching(pruner="none"), "search.pruner: asha -> none", False),
        (altered(name="other"), None, True),
        (altered(replicates=ReplicatesSpec(count=1)), None, True),
        (altered(replicates=ReplicatesSpec(seeds=(0, 7))), "replicates.seeds: [0] -> [0, 7]", False),
        (altered(replicates=ReplicatesSpec(seeds=(7, 0))), "replicates.seeds: [0] -> [7, 0]", False),
        (altered(resources=ResourceSpec(worker_retries=5)), "resources.worker_retries: 2 -> 5", True),
        (altered(resources=ResourceSpec(cpus_per_trial=2)), "resources.cpus_per_trial: 1 -> 2", False),
        (altered(keep=KeepSpec(per_study="all")), "keep.per_study: 3 -> all", True),
        (altered(keep=KeepSpec(per_study=2)), "keep.per_study: 3 -> 2", False),
        (altered(budget=BudgetSpec(trials=3)), "budget.trials: none -> 3", False),
        (altered(trial=BASE.trial.model_copy(update={"depth": 34})), "trial.depth: 18 -> 34", False),
        (altered(design=DesignSpec(kind="grid")), "design.kind: search -> grid", False),
    ],
)
def test_a_difference_is_named_and_judged(later: StudySpec, said: str | None, extends: bool) -> None:
    differences = changes(BASE, later)
    assert [str(change) for change in differences] == ([said] if said else [])
    assert all(change.extends for change in differences) is extends


@pytest.mark.parametrize(
    ("before", "after", "extends"),
    [
        (BudgetSpec(wall_clock="1 h"), BudgetSpec(wall_clock="60 min"), None),
        (BudgetSpec(wall_clock="1 h"), BudgetSpec(wall_clock="61 min"), True),
        (BudgetSpec(wall_clock="1 h"), BudgetSpec(), True),
        (BudgetSpec(wall_clock="1 h"), BudgetSpec(wall_clock="59 min"), False),
        (BudgetSpec(target={"val_auc": 0.9}), BudgetSpec(target={"val_auc": 0.95}), True),
        (BudgetSpec(target={"val_auc": 0.9}), BudgetSpec(), True),
        (BudgetSpec(failures=2), BudgetSpec(failures=1), False),
    ],
)
def test_a_budget_extends_when_it_grows_or_goes(before: BudgetSpec, after: BudgetSpec, extends: bool | None) -> None:
    differences = changes(altered(budget=before), altered(budget=after))
    assert [change.extends for change in differences] == ([] if extends is None else [extends])


def test_a_changed_parameter_is_one_difference() -> None:
    other = Parameter(name="optimizer", domain=Choice(values=("sgd", "adam", "adamw")))
    (change,) = changes(BASE, altered(space=(other, *BASE.space[1:])))
    assert (change.field, change.extends) == ("space.optimizer", False)


def test_what_is_asked_for_is_added_to_what_there_was() -> None:
    spec = altered(budget=BudgetSpec(trials=4, wall_clock="1 h", failures=1, target={"val_auc": 0.9}))
    more = extend_study(spec, Additions(trials=2, wall_clock="30 min", failures=2, no_target=True))
    assert (more.search.trials, more.budget) == (6, BudgetSpec(trials=6, wall_clock="5400 s", failures=3))


def test_more_seeds_of_a_search_keep_its_points() -> None:
    spec = altered(replicates=ReplicatesSpec(seeds=(3, 5)))
    more = extend_study(spec, Additions(replicates=2))
    assert (more.replicates.numbers, more.search.trials) == ((3, 5, 6, 7), 8)


@pytest.mark.parametrize(
    ("design", "more", "words"),
    [
        (
            "search",
            Additions(wall_clock="1 h"),
            "--wall-clock adds to budget.wall_clock, but the study has no such limit",
        ),
        ("search", Additions(failures=1), "--failures adds to budget.failures"),
        ("search", Additions(trials=100_000), "search.trials: Input should be less than or equal to 100000"),
        ("grid", Additions(trials=1), "a grid has every point it can have; --replicates N"),
    ],
)
def test_nothing_is_added_to_nothing(design: str, more: Additions, words: str) -> None:
    spec = altered(design=DesignSpec.model_validate({"kind": design}))
    with pytest.raises(UsageError, match=words):
        extend_study(spec, more)


def test_a_file_that_says_the_same_is_refused_with_two_ways_on(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "crash", BASE)
    with pytest.raises(
        StudyStorageError, match=r"`crash` exists; `study resume crash --results .*` goes on with it.*--name OTHER"
    ):
        extension_of(layout, BASE)


def test_a_file_that_changes_what_has_run_is_refused_with_every_difference(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "crash", BASE)
    with pytest.raises(StudyStorageError) as caught:
        extension_of(layout, searching(trials=9, seed=8))
    assert "search.trials: 4 -> 9" in str(caught.value)
    assert "search.seed: 3 -> 8" in str(caught.value)


def test_a_file_that_only_grew_extends_what_is_really_run(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "crash", BASE)
    wanted = extension_of(layout, searching(trials=9))
    assert wanted == storage.spec.model_copy(update={"search": wanted.search})
    assert wanted.search.trials == 9


@pytest.mark.parametrize("design", ["grid", "one_factor", "factorial"])
def test_more_seeds_extend_a_listed_design_as_they_are(design: str) -> None:
    spec = altered(design=DesignSpec.model_validate({"kind": design}))
    (change,) = changes(spec, spec.model_copy(update={"replicates": ReplicatesSpec(seeds=(0, 7))}))
    assert change.extends


def test_more_seeds_of_a_search_need_more_trials() -> None:
    more = altered(replicates=ReplicatesSpec(seeds=(0, 7)), search=BASE.search.model_copy(update={"trials": 8}))
    assert all(change.extends for change in changes(BASE, more))


def test_an_uneven_search_gets_every_new_seed_for_every_point() -> None:
    spec = altered(replicates=ReplicatesSpec(count=2), search=BASE.search.model_copy(update={"trials": 5}))
    assert extend_study(spec, Additions(replicates=1)).search.trials == 9


def test_a_long_wall_clock_grows_exactly() -> None:
    spec = altered(budget=BudgetSpec(wall_clock="14 d"))
    assert extend_study(spec, Additions(wall_clock="1 d 1 s")).budget.wall_clock_s == 15 * 86400 + 1


def test_an_extension_that_changes_nothing_of_what_ended_the_study_is_refused(tmp_path: Path) -> None:
    storage, _ = make_storage(tmp_path / "crash", altered(budget=BudgetSpec(target={"val_auc": 0.9})))
    storage.note_end(StopReason.TARGET)
    with pytest.raises(UsageError, match=r"target reached, which still holds; add --no-target"):
        require_effect(storage, extend_study(storage.spec, Additions(trials=1)))
    require_effect(storage, extend_study(storage.spec, Additions(trials=1, no_target=True)))


DEPTH = Parameter(name="depth", domain=Choice(values=(10, 18)))
SGD = Condition(parameter="optimizer", values=("sgd",))


def listed(kind: str, *space: Parameter, **design: object) -> StudySpec:
    return altered(design=DesignSpec.model_validate({"kind": kind, **design}), space=space)


@pytest.mark.parametrize(
    ("kind", "domain", "said", "extends"),
    [
        ("grid", Choice(values=(10, 18, 34)), "space.depth: {choice: [10, 18]} -> {choice: [10, 18, 34]}", True),
        ("grid", Choice(values=(34, 18, 10)), "space.depth: {choice: [10, 18]} -> {choice: [34, 18, 10]}", True),
        ("grid", Choice(values=(18, 10)), None, True),
        ("one_factor", Choice(values=(10, 18, 34)), "space.depth: {choice: [10, 18]} -> {choice: [10, 18, 34]}", True),
        ("factorial", Choice(values=(10, 18, 34)), "space.depth: {choice: [10, 18]} -> {choice: [10, 18, 34]}", True),
        ("grid", Choice(values=(10, 34)), "space.depth: {choice: [10, 18]} -> {choice: [10, 34]}", False),
        ("grid", Constant(value=18), "space.depth: {choice: [10, 18]} -> 18", False),
        ("grid", Integer(low=10, high=18, step=8), None, True),
        ("grid", Integer(low=10, high=34, step=8), "space.depth: {choice: [10, 18]} -> {int: [10, 34], step: 8}", True),
        ("search", Choice(values=(10, 18, 34)), "space.depth: {choice: [10, 18]} -> {choice: [10, 18, 34]}", False),
    ],
)
def test_a_further_level_extends_a_complete_design(kind: str, domain: Domain, said: str | None, extends: bool) -> None:
    before, after = (listed(kind, parameter) for parameter in (DEPTH, DEPTH.model_copy(update={"domain": domain})))
    differences = changes(before, after)
    assert [str(change) for change in differences] == ([said] if said else [])
    assert all(change.extends for change in differences) is extends


def test_another_factor_or_condition_and_a_level_of_a_fraction_are_no_extension() -> None:
    other = Parameter(name="batch_size", domain=Choice(values=(8, 16)))
    (added,) = changes(listed("grid", DEPTH), listed("grid", DEPTH, other))
    assert (str(added), added.extends) == ("space.batch_size: nothing -> {choice: [8, 16]}", False)
    (removed,) = changes(listed("grid", DEPTH, other), listed("grid", DEPTH))
    assert not removed.extends
    conditional = DEPTH.model_copy(update={"when": (SGD,)})
    (moved,) = changes(listed("grid", DEPTH), listed("grid", conditional))
    assert (moved.extends, str(moved)) == (
        False,
        "space.depth: {choice: [10, 18]} -> {choice: [10, 18], when: {optimizer: [sgd]}}",
    )
    more = DEPTH.model_copy(update={"domain": Choice(values=(10, 18, 34))})
    (level,) = changes(listed("factorial", DEPTH, resolution=3), listed("factorial", more, resolution=3))
    assert not level.extends


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter(name="lr", domain=Uniform(low=1e-4, high=0.1, log=True)), "{loguniform: [0.0001, 0.1]}"),
        (Parameter(name="lr", domain=Uniform(low=0, high=1, step=0.25)), "{uniform: [0.0, 1.0], step: 0.25}"),
        (Parameter(name="x", domain=Integer(low=2, high=64, log=True)), "{logint: [2, 64]}"),
        (Parameter(name="x", domain=Constant(value=True)), "true"),
        (
            Parameter(name="x", domain=Choice(values=("flip+rotate(15)", "a, b", "\x1b[m", False))),
            '{choice: [flip+rotate(15), "a, b", "\\u001b[m", false]}',
        ),
    ],
)
def test_a_parameter_is_shown_as_the_study_file_writes_it(parameter: Parameter, text: str) -> None:
    assert format_parameter(parameter) == text


def test_a_level_is_added_once_to_what_is_really_run(tmp_path: Path) -> None:
    """What could not be run stays out; a file that says again what was added is no further extension."""
    wanted = listed("grid", DEPTH.model_copy(update={"domain": Choice(values=(10, 18, 50))}))
    run = wanted.model_copy(update={"space": (DEPTH,)})
    layout = StudyLayout(tmp_path)
    data = make_storage(tmp_path / "other", run)[0].data
    StudyStorage.create(layout, run, "name: crash\n", given=wanted, data=data)
    more = listed("grid", DEPTH.model_copy(update={"domain": Choice(values=(34, 10, 18, 50))}))
    extended = extension_of(layout, more)
    assert extended.space == (DEPTH.model_copy(update={"domain": Choice(values=(10, 18, 34))}),)
    StudyStorage.open(layout).extend(extended)
    with pytest.raises(StudyStorageError, match="exists"):
        extension_of(layout, more)
    (extension,) = StudyStorage.open(layout).extensions
    assert extension["changes"] == {"space.depth": ["{choice: [10, 18]}", "{choice: [10, 18, 34]}"]}

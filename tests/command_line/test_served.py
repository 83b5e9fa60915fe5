"""Reading a study from a server gives the answers that reading it from the results folder gives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorders import Script
from served_kit import TwoPlaces, both, told
from typer.testing import Result

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import DesignSpec, ReplicatesSpec, SearchSpec
from study.config.search_space import Choice, Integer, Parameter, Uniform
from study.errors import UsageError
from study.paths import Layout
from study.records import TrialRecord
from tracking.client.client import TrackingClient
from tracking.content import tags_and_metrics as content
from tracking.content.encoding import as_ranges, of_ranges
from tracking.reader import queries as query
from tracking.reader.study import ServedStudy, _setting
from tracking.tracking_uri import default_tracking_uri

GRID = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(name="depth", domain=Choice(values=(10, 18))),
)
DRAWN = (*GRID, Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)))
NO_PRUNER = SearchSpec(pruner="none")
CLASSES = ("not_wearing_mask", "wearing_mask")


def of_point(record: TrialRecord) -> dict[str, float]:
    top = (0.900, 0.894, 0.880, 0.870)[record.point]
    value = top + 0.0001 * (record.trial * 7 % 5) + 0.001 * record.replicate
    return {"val_auc": value, "val_loss": 1 - top, "epoch_s": 0.1}


def of_trial(record: TrialRecord) -> dict[str, float]:
    late = {"late": 1.0} if record.trial > 50 else {}
    return {"val_auc": 0.5 + 0.001 * (record.trial * 37 % 100), "val_loss": 1.0, "epoch_s": 0.1, **late}


def of_lucky(record: TrialRecord) -> dict[str, float]:
    """Let one point be the best by its first seed and the worst by the mean."""
    values = (0.99, 0.50, 0.50) if record.point == 3 else (0.70 + 0.005 * record.point,) * 3
    return {"val_auc": values[record.replicate], "val_loss": 1.0}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Three studies.

    rep has three seeds per configuration, ext has them since it was extended, many has single trials, one of them
    failed.
    """
    folder = tmp_path_factory.mktemp("places")
    shutil.copy(empty_database, folder / "mlflow.db")
    whole = {"design": DesignSpec(kind="grid"), "search": NO_PRUNER}
    studies = [
        TwoPlaces(folder, "rep", of_point, space=GRID, replicates=ReplicatesSpec(count=3), **whole),
        TwoPlaces(
            folder, "many", of_trial, dropped=(3, 4), failing=(5,), space=DRAWN,
            search=SearchSpec(sampler="random", trials=60, pruner="none"),
            trial=Hyperparameters(schedule="multistep", milestones=(3, 6)),
        ),
    ]  # fmt: skip
    sizes = (Parameter(name="batch_size", domain=Integer(low=16, high=35)),)
    studies.append(TwoPlaces(folder, "ext", of_lucky, space=sizes, **whole))
    for study in studies:
        study.run()
    studies[-1].extend(studies[-1].storage.spec.model_copy(update={"replicates": ReplicatesSpec(count=3)}))
    for study in studies:
        study.close()
    return folder


def test_a_winner_is_as_sure(results: Path) -> None:
    here, there = (told(done)["certainty"] for done in both(results, "best", "rep", "--json"))
    assert there == here
    assert (here["tied"], here["verdict"]) == (3, "undecided")


def test_counts_that_would_be_cut_are_left_out() -> None:
    event = Script().start()
    few, many = ({f"shifted/{at}": {CLASSES[0]: 9, CLASSES[1]: 4} for at in range(count)} for count in (2, 2000))
    tags = content.study_tags(replace(event, data=replace(event.data, class_counts=few)), None)
    assert tags["study.class_counts"] == '{"shifted/0": [9, 4], "shifted/1": [9, 4]}'
    tags = content.study_tags(replace(event, data=replace(event.data, class_counts=many)), None)
    assert "study.class_counts" not in tags


def test_replicates_that_came_later_count(results: Path) -> None:
    here, there = (told(done) for done in both(results, "best", "ext", "--json"))
    assert (there["point"], there["replicates"], there["mean"]) == (here["point"], here["replicates"], here["mean"])
    assert (here["point"], here["replicates"]) == (19, 3)
    here, there = (told(done) for done in both(results, "show", "ext/25", "--json"))
    assert there["seed"] == here["seed"] == 1


def test_replicates_are_seen_although_only_the_first_seeds_were_told(results: Path) -> None:
    study = query.open_study(default_tracking_uri(Layout(results), None), "ext")
    tags = {key: text for key, text in study.parent.tags.items() if key != "study.seeds"}
    old = ServedStudy(study._reader, replace(study.parent, tags=tags))
    assert (study.seeds, old.seeds) == ((0, 1, 2), (0,))
    assert study.has_replicates
    assert old.has_replicates
    assert not query.open_study(default_tracking_uri(Layout(results), None), "many").has_replicates


def trials(result: Result) -> list[int]:
    return [row["trial"] for row in told(result)]


@pytest.mark.parametrize("expression", ["kept = false", "kept = true", "kept is null", "busy_s > 1", "busy_s < 1"])
def test_what_became_of_weights_and_time_is_asked_alike(results: Path, expression: str) -> None:
    here, there = (trials(done) for done in both(results, "compare", "many", "--json", "--where", expression))
    assert sorted(there) == sorted(here)
    assert len(here) == {"kept = false": 2, "kept = true": 57, "kept is null": 1, "busy_s > 1": 60}.get(expression, 0)


def test_weights_and_time_are_shown_alike(results: Path) -> None:
    here, there = (told(done) for done in both(results, "compare", "many", "--json", "--columns", "busy_s,kept"))
    assert [(row["kept"], row["columns"]) for row in there] == [(row["kept"], row["columns"]) for row in here]
    for done in both(results, "show", "many/3"):
        assert "weights not kept" in done.stdout
        assert "on a worker" in done.stdout


def test_what_nobody_told_is_not_claimed(results: Path) -> None:
    study = query.open_study(default_tracking_uri(Layout(results), None), "many")
    running = ServedStudy(study._reader, replace(study.parent, tags={**study.parent.tags, "study.state": "running"}))
    run = study._reader.run(next(study.trials(limit=1)).run_id or "")
    old = replace(run, tags={key: text for key, text in run.tags.items() if key != "study.busy_s"})
    assert (study.record_of(run).kept, study.record_of(run).busy_s) == (True, 1.5)
    assert (running.record_of(old).kept, running.record_of(old).busy_s) == (None, None)


@given(st.sets(st.integers(0, 60)))
def test_numbers_are_read_as_they_were_written(numbers: set[int]) -> None:
    assert of_ranges(as_ranges(numbers)) == numbers
    assert as_ranges(range(150)) == "0-149"


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("milestones = '3, 6'", 60),
        ("params.milestones like '3%'", 60),
        ("milestones = '(3, 6)'", 0),
        ("head_width > 1", 0),
        ("focal_gamma is null and early_stopping_min_delta is null", 60),
        ("gamma = 0.1 and channels_last = 'auto'", 60),
    ],
)
@pytest.mark.parametrize("more", [(), ("--top", "100")])
def test_hyperparameters_are_asked_alike(results: Path, expression: str, count: int, more: tuple[str, ...]) -> None:
    here, there = both(results, "compare", "many", "--json", "--where", expression, *more)
    assert (len(trials(here)), sorted(trials(there))) == (count, sorted(trials(here)))


def test_hyperparameters_are_shown_alike(results: Path) -> None:
    names = "milestones,head_width,momentum,gamma,warmup_epochs,nesterov,decay_norms_and_biases"
    here, there = (told(done) for done in both(results, "compare", "many", "--json", "--columns", names))
    assert {row["trial"]: row["columns"] for row in there} == {row["trial"]: row["columns"] for row in here}
    assert (here[0]["columns"]["milestones"], here[0]["columns"]["head_width"]) == ("3, 6", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("(3, 6)", (3, 6)), ("(3,)", (3,)), ("()", ()), ("(3, 6", "(3, 6"), ("(a)", "(a)"), ("3, 6", "3, 6")],
)
def test_several_numbers_are_read_back(text: str, value: object) -> None:
    assert _setting(text) == value


TOP = ((), ("--top", "3"))


@pytest.mark.parametrize("expression", ["depth = 'resnet'", "trial = true", "val_auk > 1", "state = 'FAILED' and seed"])
@pytest.mark.parametrize("more", TOP)
def test_what_means_nothing_is_an_error_alike(results: Path, expression: str, more: tuple[str, ...]) -> None:
    here, there = both(results, "compare", "many", "--where", expression, *more)
    assert isinstance(here.exception, UsageError)
    assert str(there.exception) == str(here.exception)


@pytest.mark.parametrize(
    "words",
    [
        ("--where", "optimizer = 'zzz'", "--columns", "epoch_s", "--sort", "val_loss"),
        ("--where", "val_auc > 2", "--columns", "epoch_s"),
        ("--where", "optimizer = 'zzz' and gamma = 0.1"),
    ],
)
@pytest.mark.parametrize("more", TOP)
def test_nothing_found_is_an_empty_table_alike(results: Path, words: tuple[str, ...], more: tuple[str, ...]) -> None:
    here, there = both(results, "compare", "many", "--json", *words, *more)
    assert told(there) == told(here) == []


def test_names_that_only_later_trials_have_mean_something(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.queries.server_queries._SAMPLE", 1)
    words = ("compare", "many", "--json", "--where", "late > 0 and optimizer = 'adam'")
    here, there = (trials(done) for done in both(results, *words))
    assert there == here != []
    monkeypatch.setattr("cli.queries.server_queries._SLOW", 10)
    assert isinstance(both(results, *words)[1].exception, UsageError)


def test_a_title_counts_what_was_read_whole(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_MIN_FETCHED", 3), ("_FETCHED_PER_TRIAL", 1)):
        monkeypatch.setattr(f"tracking.reader.top_trials.{name}", value)

    def titles(*words: str) -> tuple[str, ...]:
        return tuple(done.stdout.splitlines()[0].split(" by ")[0].strip() for done in both(results, "compare", *words))

    half = ("many", "--where", "trial < 30")
    assert titles(*half) == ("many: 30 trials", "many: 30 trials")
    assert titles(*half, "--top", "2") == ("many: 30 trials", "many: trials")
    assert titles("many", "--where", "trial < 6", "--top", "20") == ("many: 6 trials", "many: 6 trials")
    assert titles("many", "--top", "2") == ("many: 60 trials", "many: 60 trials")


def test_a_foreign_run_below_a_study_is_none_of_its_trials(results: Path) -> None:
    uri = default_tracking_uri(Layout(results), None)
    parent = query.open_study(uri, "rep").parent
    tags = {"mlflow.parentRunId": parent.id}
    foreign = TrackingClient(uri).create_run(parent.experiment_id, "mine", 1, tags)
    try:
        here, there = (told(done) for done in both(results, "compare", "rep", "--json"))
        assert [row["trials"] for row in there] == [row["trials"] for row in here]
        assert [record.trial for record in query.open_study(uri, "rep").trials()] == list(range(12))
        assert [record.trial for record in query.open_study(uri, "rep").trials(limit=2)] == [
            0,
            1,
        ]  # the foreign one began first
    finally:
        TrackingClient(uri).api.delete_run(foreign.id)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("more", TOP)
def test_numbers_beyond_every_float_are_compared_alike(results: Path, sign: str, more: tuple[str, ...]) -> None:
    words = ("compare", "many", "--json", "--where", f"val_auc > {sign}1{'0' * 400}", *more)
    here, there = (trials(done) for done in both(results, *words))
    assert there == here
    assert bool(here) == bool(sign)

"""compare: which runs, in which order, with which columns, in which format, of how many studies."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from reading_kit import DATA, begin, run_one
from recorders import Script, play
from tracking_backends import Backend

from study.config.search_config import Objective, ReplicatesSpec, SearchSpec
from study.errors import TrackingError, UsageError
from study.paths import Layout
from study.records import TrialState


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies: a with single runs, b on other data, c with two seeds per configuration."""
    folder = tmp_path_factory.mktemp("select")
    studies = Layout(folder)
    storage = begin(studies.study("a"), trials=8)
    for at in range(8):
        run_one(storage, TrialState.FAILED if at == 5 else TrialState.COMPLETE)
    other = begin(studies.study("b"), trials=3, data=replace(DATA, fingerprint="e" * 64))
    for _ in range(3):
        run_one(other)
    search = SearchSpec(sampler="random", trials=6, pruner="none")
    third = begin(studies.study("c"), search=search, replicates=ReplicatesSpec(seeds=(7, 9)))
    for at in range(5):
        run_one(third, only_once=float(at)) if at == 0 else run_one(third)
    return folder


@pytest.fixture
def call(results: Path) -> Any:
    return lambda *arguments: invoke(*arguments, "--results", str(results))


@pytest.fixture
def asked(call: Any) -> Any:
    return lambda *arguments: json.loads(call(*arguments, "--json").stdout)


def test_where_ranks_only_those_that_match(asked: Any, call: Any) -> None:
    every = asked("compare", "a")
    expected = [row["trial"] for row in every if row["params"]["depth"] >= 18 and row["params"]["optimizer"] == "adam"]
    rows = asked("compare", "a", "--where", "optimizer = 'adam' and depth >= 18")
    assert [row["trial"] for row in rows] == expected
    assert [row["rank"] for row in rows if row["rank"]] == list(range(1, 1 + len([r for r in rows if r["rank"]])))
    assert [row["trial"] for row in asked("compare", "a", "--where", "state = 'FAILED'")] == [5]
    assert asked("compare", "a", "--where", "val_auc > 2", "--columns", "val_loss", "--sort", "val_loss") == []
    assert len(asked("compare", "a", "--where", "batch_size = 64 and momentum is null or momentum >= 0")) == 8
    assert "where trial < 3" in call("compare", "a", "--where", "trial < 3").stdout


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("optimizer = 5", "`optimizer` is text"),
        ("optimiser = 'adam'", "did you mean `optimizer`"),
        ("depth >", "expected a value or a name, got the end"),
    ],
)
def test_a_bad_expression_is_told(call: Any, expression: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call("compare", "a", "--where", expression)


def test_columns_show_metrics_hyperparameters_and_facts(call: Any, asked: Any) -> None:
    shown = call("compare", "a", "--columns", "val_loss, batch_size, seed", "--top", "1")
    heading = next(line for line in shown.stdout.splitlines() if "rank" in line).split()
    assert heading[:9] == ["rank", "may", "be", "trial", "state", "val_auc", "val_loss", "batch_size", "seed"]
    assert asked("compare", "a", "--columns", "batch_size,depth", "--top", "1")[0]["columns"]["batch_size"] == 64
    assert "columns" not in asked("compare", "a")[0]
    with pytest.raises(UsageError, match=r"--columns: no trial reports `val_acc`; did you mean `val_auc`"):
        call("compare", "a", "--columns", "val_acc")


def test_sort_takes_several_keys_and_puts_what_is_missing_last(asked: Any, call: Any) -> None:
    by_depth = asked("compare", "a", "--sort", "depth:desc", "--sort", "trial")
    keys = [(-row["params"]["depth"], row["trial"]) for row in by_depth]
    assert keys == sorted(keys)
    for direction in ("asc", "desc"):
        momenta = [row["params"].get("momentum") for row in asked("compare", "a", "--sort", f"momentum:{direction}")]
        there = [momentum for momentum in momenta if momentum is not None]
        assert there == sorted(there, reverse=direction == "desc")
        assert momenta[len(there) :] == [None] * (len(momenta) - len(there))
    assert [row["rank"] for row in asked("compare", "a", "--sort", "rank:desc", "--top", "2")] == [7, 6]
    for bad, words in (("depth:up", "must be KEY, KEY:asc or KEY:desc"), ("dept", "did you mean `depth`")):
        with pytest.raises(UsageError, match=words):
            call("compare", "a", "--sort", bad)


def test_every_format_has_the_same_rows(call: Any, asked: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(call("compare", "a", "--format", "csv").stdout, newline="")))
    told = asked("compare", "a")
    assert [(int(row["trial"]), row["val_auc"]) for row in rows[:-1]] == [
        (row["trial"], repr(row["value"])) for row in told[:-1]
    ]
    assert rows[-1]["rank"] == ""
    assert call("compare", "a", "--format", "markdown").stdout.count("\n") == 10
    assert call("compare", "a", "--format", "latex").stdout.startswith("\\begin{tabular}")
    assert json.loads(call("compare", "a", "--format", "json").stdout) == told
    with pytest.raises(UsageError, match="--json is --format json"):
        call("compare", "a", "--json", "--format", "csv")


def test_several_studies_are_ranked_together_and_other_data_is_said(call: Any, asked: Any) -> None:
    rows = asked("compare", "a", "b", "a")
    assert [row["rank"] for row in rows] == [*range(1, 11), None]
    values = [row["value"] for row in rows[:10]]
    assert values == sorted(values, reverse=True)
    assert {row["study"] for row in rows} == {"a", "b"}
    done = call("compare", "a", "b", "--format", "csv")
    assert "the data differ" in done.stderr
    assert "b faces eeeeeeeeeeee" in done.stderr
    assert done.stdout.splitlines()[0].startswith("rank,study,trial,state,val_auc")
    assert "the data differ" in call("compare", "a", "b").stdout
    assert "the data differ" not in call("compare", "a", "c").stdout + call("compare", "a", "c").stderr
    assert {row["study"] for row in asked("compare", "a", "b", "--where", "study = 'b'")} == {"b"}


def test_studies_of_several_seeds_and_of_one_rank_the_whole_ones_first(asked: Any) -> None:
    rows = asked("compare", "a", "c")
    ranked = [(row["study"], row["whole"]) for row in rows if row["rank"]]
    assert [study for study, whole in ranked if whole] == ["c", "c"]
    assert ranked == sorted(ranked, key=lambda row: not row[1])
    assert [(row["replicates"], row["complete"]) for row in rows[:3]] == [(2, 2), (2, 2), (1, 1)] or rows[2][
        "study"
    ] == "c"


def test_studies_of_other_objectives_need_a_metric_that_is_named(results: Path, call: Any, asked: Any) -> None:
    layout = Layout(results).study("least")
    if not layout.journal.exists():
        run_one(begin(layout, objective=Objective(metric="val_loss", mode="min")))
    with pytest.raises(UsageError, match=r"same objective.*a: max val_auc; least: min val_loss.*--metric val_auc"):
        call("compare", "a", "least")
    rows = asked("compare", "a", "least", "--metric", "val_loss")
    values = [row["value"] for row in rows if row["rank"]]
    assert values == sorted(values)


def test_configurations_are_asked_for_what_their_trials_share(asked: Any, call: Any) -> None:
    rows = asked("compare", "c")
    assert [row["point"] for row in rows] == [row["point"] for row in asked("compare", "c", "--where", "val_auc > 0")]
    first = rows[0]
    rows = asked("compare", "c", "--where", f"val_auc >= {first['mean']!r} and point = {first['point']}")
    assert [row["point"] for row in rows] == [first["point"]]
    assert [row["point"] for row in asked("compare", "c", "--sort", "point")] == [0, 1, 2]
    columns = asked("compare", "c", "--columns", "depth,val_loss,complete", "--sort", "point")[0]["columns"]
    assert columns["val_loss"] == 0.5
    for words in (("--where", "seed = 7"), ("--columns", "trial"), ("--sort", "params.seed")):
        with pytest.raises(UsageError, match="each configuration has several; add --trials"):
            call("compare", "c", *words)
    of_seed = asked("compare", "c", "--trials", "--where", "seed = 9")
    assert [(row["trial"], row["replicate"]) for row in of_seed] == [(row["trial"], 1) for row in of_seed]
    assert len(of_seed) == 2


def test_a_server_gives_the_same_ranking(remote: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_MIN_FETCHED", 3), ("_FETCHED_PER_TRIAL", 1)):
        monkeypatch.setattr(f"tracking.reader.top_trials.{name}", value)
    script = Script(planned=16)
    events = [script.start()]
    for trial in range(16):
        state = TrialState.FAILED if trial % 7 == 0 else TrialState.COMPLETE
        events += [script.begin(trial), script.finish(trial, state)]
    play(remote.open(), [*events, script.end()])
    client = remote.client()
    for run in remote.runs().values():
        client.api.set_tag(run.id, "study.checkpoint", "checkpoint")

    def ask(*words: str) -> Any:
        return json.loads(invoke(*words, "--tracking-uri", str(remote.uri), "--json").stdout)

    def trials(*words: str) -> list[int]:
        return [row["trial"] for row in ask("compare", "faces", *words)]

    ended = [trial for trial in range(15, -1, -1) if trial % 7]
    assert trials("--top", "4") == ended[:4]
    assert trials()[: len(ended)] == ended
    assert trials("--where", "optimizer = 'adam' and learning_rate < 0.01", "--top", "3") == [5, 3, 1]
    assert trials("--where", "learning_rate < 0.006 and state = 'COMPLETE'") == [4, 3, 2, 1]
    assert trials("--sort", "learning_rate", "--top", "2") == [0, 1]
    assert trials("--where", "trial = 3", "--top", "5") == [3]
    told = ask("best", "faces")
    assert (told["trial"], told["rank"], told["certainty"]["lead"]) == (15, 1, pytest.approx(0.02))
    with pytest.raises(UsageError, match="did you mean `optimizer`"):
        trials("--where", "optimiser = 'adam'", "--top", "3")
    with pytest.raises(TrackingError, match=r"'nope' is not; there are: .*faces"):
        ask("compare", "nope")

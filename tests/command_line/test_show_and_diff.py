"""show RUN and diff: one run whole, and what differs between two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from reading_kit import DATA, begin, run_one, values_of
from recorders import Script
from tracking_backends import Backend

from cli.commands.results.diff import find_differences
from cli.views.run import RunDetails, local_run
from study.errors import StudyStorageError, TrackingError, UsageError
from study.paths import Layout
from study.records import TrialState
from tracking.outbox.outbox import Outbox
from tracking.outbox.provenance import Provenance
from tracking.run_ids import Runs, save_runs

IDS = {0: "abcdef0123456789abcdef0123456789", 1: "abcdef9876543210abcdef9876543210", 3: "f" * 32}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study one with every kind of run, some in MLflow, and study two on other data."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = Layout(folder).study("one"), Layout(folder).study("two")
    storage = begin(first)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.COMPLETE, TrialState.RUNNING):
        run_one(storage, state)
    storage.note_dropped([3])
    first.trial_error(2).parent.mkdir(parents=True)
    first.trial_error(2).write_text("Traceback: boom")
    save_runs(first.runs, Runs("sqlite:///x.db", "1", "p" * 32, IDS))
    outbox = Outbox(first.outbox)
    origin = Provenance("1" * 40, False, "host-a", "ann", "3.11", "Linux", {"torch": "2.9"}, None, {"torch": "2.9"})
    outbox.append(replace(Script("one").start(), device="gpu"), origin)
    outbox.append(Script("one").begin(0))
    later = replace(Script("one").start(), at_s=4e9)
    outbox.append(later, replace(origin, host="later"))
    outbox.close()
    run_one(begin(second, data=replace(DATA, fingerprint="e" * 64)))
    return folder


@pytest.fixture
def call(results: Path) -> Callable[..., str]:
    return lambda *arguments: invoke(*arguments, "--results", str(results)).stdout


def test_one_run_is_shown_whole(call: Callable[..., str]) -> None:
    screen = call("show", "one/0")
    for words in ("trial 0 of one: COMPLETE, finished", "point 0, replicate 0, seed 0", "3s on a worker", "optimizer=",
                  "batch_size=64", "epoch 2 of 2: val_auc", IDS[0], "fingerprint=ffff", f"commit={'1' * 40}",
                  "host=host-a", "device=gpu", "torch=2.9", "val_loss", "epoch-2"):  # fmt: skip
        assert words in screen, words
    assert "later" not in screen
    assert "weights not kept" in call("show", "one/3")
    failed = call("show", "one:2")
    assert "FAILED, error" in failed
    assert "RuntimeError: boom (traceback: " in failed
    assert "trial 4 of one: RUNNING\n" in call("show", "one/4")
    assert "one: interrupted" in call("show", "one")


def test_one_run_as_json_has_every_epoch(call: Callable[..., str], results: Path) -> None:
    told = json.loads(call("show", "one/0", "--json"))
    assert told["epochs"] == [{"epoch": epoch, "metrics": values_of(0, epoch)} for epoch in (1, 2)]
    assert (told["seed"], told["run_id"], told["environment"]["host"]) == (0, IDS[0], "host-a")
    assert told["drawn_seed"] == told["config"]["seed"]
    failed = json.loads(call("show", "one/2", "--json"))
    assert Path(failed["traceback"]).read_text() == "Traceback: boom"
    assert len(json.loads(call("show", "one", "--json"))["records"][0]["history"]) == 2


def test_a_run_is_known_by_its_id_or_the_beginning_of_it(call: Callable[..., str]) -> None:
    for text in (IDS[1], "abcdef98", "ffffff"):
        assert "of one: " in call("show", text)
    for text, kind, words in (
        ("abcdef", UsageError, r"several begin with `abcdef`: abcdef0123.*one/0"),
        ("abcdef0000", StudyStorageError, r"no MLflow run `abcdef0000` in .*STUDY/TRIAL such as ablation/3"),
        ("one/99", StudyStorageError, "no trial 99 in `one`; there are: 0 to 4"),
        ("onne/1", StudyStorageError, "did you mean `one`"),
        ("onne", StudyStorageError, "did you mean `one`"),
    ):
        with pytest.raises(kind, match=words):
            call("show", text)
    for text in ("one", "abc"):
        with pytest.raises(UsageError, match="a trial is STUDY/TRIAL"):
            call("diff", text, "one/1")


def test_a_name_with_a_slash_and_a_number_is_a_study_if_there_is_one(results: Path, call: Callable[..., str]) -> None:
    layout = Layout(results).study("x/7")
    if not layout.journal.exists():
        run_one(begin(layout, name="x/7"))
    assert call("show", "x/7").startswith("x/7: ")
    assert "trial 0 of x/7" in call("show", "x/7/0")


def test_diff_says_what_differs(call: Callable[..., str]) -> None:
    told = json.loads(call("diff", "one/0", "one/3", "--json"))
    assert (told["same"], told["data"], told["code"], told["environment"]) == (False, {}, {}, {})
    assert told["metrics"]["val_auc"] == {
        "values": [values_of(0, 2)["val_auc"], values_of(3, 2)["val_auc"]], "difference": pytest.approx(0.01)
    }  # fmt: skip
    assert set(told["measured"]) == {"epoch_s"}
    assert [run["run"] for run in told["runs"]] == ["one/0", "one/3"]
    screen = call("diff", "one/0", "two/0")
    assert "fingerprint" in screen
    assert "one/0 against two/0: different are data (1)" in screen
    assert "not known of both" not in screen
    assert "outcome" in call("diff", "one/0", "one/1")


def test_diff_says_when_nothing_differs(call: Callable[..., str]) -> None:
    assert call("diff", "one/0", IDS[0]) == "one/0 against one/0: nothing differs\n"
    told = json.loads(call("diff", "one/0", "one/0", "--json"))
    assert told["same"] is True
    assert told["metrics"] == {}


def test_runs_that_differ_in_nothing_but_time_are_the_same(results: Path) -> None:
    run = local_run(results, "one/0")
    slower = replace(run, record=replace(run.record, metrics={**run.record.metrics, "epoch_s": 99.0}))
    differences = find_differences(run, slower)
    assert differences.is_empty
    assert differences.measured == {"epoch_s": (0.0, 99.0)}


def test_each_part_is_compared_and_what_nobody_kept_is_not(results: Path) -> None:
    run = local_run(results, "one/0")
    other = replace(
        run, seed=8, code={"commit": "2" * 40, "changed": "true"}, machine={**run.machine, "device": "cpu"},
        packages={"torch": "2.8"}, installed={"torch": "2.8", "new": "1"},
        record=replace(run.record, config={**run.record.config, "depth": 99, "nesterov": 0}),
    )  # fmt: skip
    differences = find_differences(run, other)
    assert differences.parameters["depth"][1] == 99
    assert differences.parameters["seed"] == (0, 8)
    assert differences.code == {"commit": ("1" * 40, "2" * 40), "changed": ("false", "true")}
    assert differences.environment == {
        "device": ("gpu", "cpu"), "package torch": ("2.9", "2.8"), "package new": (None, "1"),
    }  # fmt: skip
    bare = RunDetails(run.record, run.objective)
    assert find_differences(bare, bare).is_empty
    assert find_differences(run, bare).code == {}


def test_a_server_is_asked_for_runs_too(played: Backend) -> None:
    uri, runs = played.client()._uri, played.runs()

    def ask(*words: str) -> Any:
        return invoke(*words, "--tracking-uri", uri).stdout

    screen = ask("show", runs["trial 0000"].id)
    assert "trial 0 of played: COMPLETE, finished" in screen
    assert "val_auc" in screen
    told = json.loads(ask("show", "played/0", "--json"))
    assert [epoch["metrics"]["train_loss"] for epoch in told["epochs"]] == [1.0, 0.5]
    assert told["data"]["fingerprint"] == "f" * 64
    assert told["environment"]["device"] == "cpu"
    differences = json.loads(ask("diff", "played/0", runs["trial 0003"].id[:10], "--json"))
    assert differences["parameters"]["optimizer"] == ["sgd", "adam"]
    assert differences["metrics"]["val_auc"]["difference"] == pytest.approx(0.03)
    assert "played: finished, 4 of 4 trials" in ask("show", "played")
    with pytest.raises(TrackingError, match="none begins so"):
        ask("show", "deadbeef")
    assert json.loads(ask("show", "played", "--json"))["tags"]["study.name"] == "played"
    with pytest.raises(UsageError, match="a trial is STUDY/TRIAL"):
        ask("diff", "played", "played/1")
    with pytest.raises(TrackingError, match="must be that of a trial"):
        ask("show", runs["played"].id)

"""What Tune is told: trials, waits and ends; without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from engine_fakes import Listener, make_spec, make_storage, metrics
from ray.tune.search import ConcurrencyLimiter, Searcher

from study.engine.files.trial_files import default_trial_files
from study.engine.ray import tuner
from study.engine.ray.tuner import InterruptStopper, StorageSearcher, reason_of_loss
from study.engine.trial_controller import TrialController
from study.engine.trial_result import TrialResult
from study.errors import EngineError
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.storage.study_storage import StudyStorage


def searching(root: Path, *, evaluates: bool) -> tuple[Any, TrialController, StudyStorage]:
    """Return the searcher as Tune asks it, which declares too little of what it may answer."""
    storage, layout = make_storage(root / "study", make_spec(trials=2, epochs=9))
    controller = TrialController(storage, StudyLayout(layout.root), Listener(), evaluates=evaluates)
    return (
        ConcurrencyLimiter(StorageSearcher(controller, default_trial_files(layout)), max_concurrent=2),
        controller,
        storage,
    )


def test_the_search_is_not_over_while_a_running_trial_may_be_pruned_and_evaluated(tmp_path: Path) -> None:
    searcher, controller, storage = searching(tmp_path, evaluates=True)
    for number, trial in enumerate("ab"):
        assert searcher.suggest(trial)["number"] == number
        controller.on_trial_started(number)
    controller.on_trial_result(0, TrialResult((metrics(1, 0.9),), "c", StopReason.FINISHED))
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None, "once told that the search is over, Tune never asks again"
    assert controller.on_trial_result(1, TrialResult((metrics(1, 0.1),), "c"))
    searcher.on_trial_complete("b")
    again = searcher.suggest("d")
    assert (again["number"], again["pruned"]) == (1, 1)
    controller.on_trial_started(1)
    assert searcher.suggest("e") is None
    assert controller.on_trial_result(1, TrialResult((), "c", StopReason.PRUNED, {"shifted.dark.auc": 0.5}))
    assert searcher.suggest("f") == Searcher.FINISHED
    assert storage.record(1).state is TrialState.PRUNED
    assert storage.record(1).metrics["shifted.dark.auc"] == 0.5


def test_the_search_is_over_at_once_when_somebody_stopped_it(tmp_path: Path) -> None:
    searcher, controller, _ = searching(tmp_path / "shifted", evaluates=True)
    assert searcher.suggest("a")["number"] == 0
    controller.interrupt()
    assert searcher.suggest("b") == Searcher.FINISHED


def test_a_run_whose_every_node_is_gone_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, controller, _ = searching(tmp_path, evaluates=True)
    nodes = [{"Alive": False}, {"Alive": True}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(tuner, "NODES_EVERY_S", 0.0)
    stopper = InterruptStopper(controller, StudyLayout(tmp_path / "study"), lambda: None)
    assert not stopper.stop_all()
    controller.raise_captured()
    nodes.pop()
    assert stopper.stop_all()
    with pytest.raises(EngineError, match=r"it lost the last one, .* go on with `study resume study"):
        controller.raise_captured()


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (
            "Failure # 1 (occurred at 2026-01-01_10-00-00)\nThe actor died unexpectedly before finishing this task.\n"
            "\tpid: 7\nThe actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR ...\n",
            "its worker process has died",
        ),
        ("The actor is dead because its node has died.", "its node has died"),
        ("Failure # 3 (occurred at ...)\nTask was killed due to the node running low on memory.\nMore.",
         "Task was killed due to the node running low on memory"),
        ("", "unknown"),
    ],
)  # fmt: skip
def test_why_a_worker_was_lost_is_a_sentence(account: str, reason: str) -> None:
    assert reason_of_loss(account) == reason

"""Reading a study from a server gives the answers that reading it from the results folder gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorders import Script
from served_kit import TwoPlaces, both, told

from study.hyperparameters import Hyperparameters
from study.records import TrialRecord
from study.spec import Choice, DesignSpec, Parameter, ReplicatesSpec, SearchSpec, Uniform
from tracking.telling import content

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
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
    return {"val_auc": 0.5 + 0.001 * (record.trial * 37 % 100), "val_loss": 1.0, "epoch_s": 0.1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: rep of three seeds per configuration, many of single trials, one of which fails."""
    folder = tmp_path_factory.mktemp("places")
    whole = {"design": DesignSpec(kind="grid"), "search": NO_PRUNER}
    studies = [
        TwoPlaces(folder, "rep", of_point, space=GRID, replicates=ReplicatesSpec(count=3), **whole),
        TwoPlaces(
            folder, "many", of_trial, dropped=(3, 4), failing=(5,), space=DRAWN,
            search=SearchSpec(sampler="random", trials=60, pruner="none"),
            trial=Hyperparameters(schedule="multistep", milestones=(3, 6)),
        ),
    ]  # fmt: skip
    for study in studies:
        study.run()
        study.close()
    return folder


def test_a_winner_is_as_sure(results: Path) -> None:
    here, there = (told(one)["certainty"] for one in both(results, "best", "rep", "--json"))
    assert there == here
    assert (here["tied"], here["text"][:3]) == (3, "no:")


def test_counts_that_would_be_cut_are_left_out() -> None:
    event = Script().start()
    few, many = ({f"shifted/{at}": {CLASSES[0]: 9, CLASSES[1]: 4} for at in range(count)} for count in (2, 2000))
    tags = content.study_tags(replace(event, data=replace(event.data, class_counts=few)), None)
    assert tags["study.class_counts"] == '{"shifted/0": [9, 4], "shifted/1": [9, 4]}'
    tags = content.study_tags(replace(event, data=replace(event.data, class_counts=many)), None)
    assert "study.class_counts" not in tags

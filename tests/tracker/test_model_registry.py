"""The best checkpoint becomes a version of a registered model that loads anywhere and gives the trial's scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_kit import load_elsewhere, real_checkpoint, stored_scores
from recorders import Script, play, write_checkpoint
from tracking_backends import Backend

from study.errors import ExportError, TrackingError, UsageError
from study.export import export_graph
from study.paths import WEIGHTS
from study.records import FinalLook
from tracking.models.description import MAX_CHARACTERS, Decision, SelectedCheckpoint
from tracking.models.logged_models import VERSIONS
from tracking.models.model_registry import Registered, register, require_names

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
VERDICT = "not certain: the next one is as good\nwithin the noise of 20 images"
ENGINE = ("ray", "optuna", "cli")


def write_fake(directory: Path, seed: int) -> Path:
    """Stand for a checkpoint of 20 MB."""
    return write_checkpoint(directory / "epoch-0002")


def write_graph(checkpoint: Path, file: Path) -> str:
    """Stand for the export, which takes a second."""
    file.write_bytes((checkpoint / WEIGHTS).read_bytes())
    return "2.9.0"


def not_kept() -> Path:
    raise ExportError("the weights were not kept")


class Studied:
    """A study of two trials, of which trial 1 is the better one."""

    def __init__(self, backend: Backend, write: Callable[[Path, int], Path] = write_fake) -> None:
        self.backend, self.script, self._write = backend, Script(), write
        self.model = backend.layout.results.name  # the session's server remembers the models of other tests
        self.checkpoints: list[Path] = []
        play(backend.open(), [self.script.start(), *self.trial(), *self.trial(), self.end(1, 0)])

    def trial(self) -> list[Any]:
        number = len(self.checkpoints)
        checkpoint = self._write(self.backend.study().trial(number), number)
        self.checkpoints.append(checkpoint)
        begun = self.script.begin(number)
        self.finished = self.script.finish(number, checkpoint=checkpoint)
        return [begun, self.finished]

    def end(self, *kept: int) -> Any:
        return replace(self.script.end(), kept=kept)

    def register(self, trial: int, weights: Callable[[], Path] | None = None, **changed: Any) -> Registered:
        choice = SelectedCheckpoint(trial=trial, metric="val_auc", value=0.71, candidates=2, verdict=VERDICT)
        name, export = changed.pop("name", self.model), changed.pop("export", write_graph)
        return register(
            self.backend.study(), self.client.tracking_uri, name, "champion", replace(choice, **changed),
            weights or (lambda: self.checkpoints[trial]), export,
        )  # fmt: skip

    def logged(self, trial: int) -> str:
        experiment = self.client.get_experiment_by_name("faces")
        (model,) = self.client.search_logged_models([experiment.experiment_id], f"tags.`study.trial` = '{trial}'")
        return str(model.model_id)

    def champion(self) -> Any:
        return self.client.get_model_version_by_alias(self.model, "champion")

    @property
    def client(self) -> Any:
        return self.backend.client().api


@pytest.fixture
def studied(backend: Backend) -> Studied:
    return Studied(backend)


@pytest.fixture
def local(database: Backend) -> Studied:
    return Studied(database)


def test_the_champion_loads_without_this_package_and_gives_the_trials_scores(database: Backend, tmp_path: Path) -> None:
    studied = Studied(database, real_checkpoint)
    uri = studied.register(1, export=export_graph).uri
    expected = stored_scores(studied.checkpoints[1])
    assert expected.std() > 1e-3, "scores that are all alike would fit any model"
    wanted = [f"pyfunc {uri}", f"pytorch {uri}"]
    loaded = load_elsewhere(studied.client.tracking_uri, wanted, tmp_path, (*ENGINE, "study", "tracking"))
    for scores in loaded.scores:
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert not loaded.modules & {"ray", "optuna", "study", "torchvision"}


def test_champion_and_kept_checkpoint_load_from_a_server_without_the_engine(remote: Backend, tmp_path: Path) -> None:
    studied = Studied(remote, real_checkpoint)
    done = studied.register(1, export=export_graph)
    wanted = [f"pyfunc {done.uri}", f"pyfunc models:/{studied.logged(0)}", f"pytorch {done.uri}"]
    loaded = load_elsewhere(studied.client.tracking_uri, wanted, tmp_path, ENGINE)
    for scores, trial in zip(loaded.scores, (1, 0, 1), strict=True):
        np.testing.assert_allclose(scores, stored_scores(studied.checkpoints[trial]), atol=1e-5)
    assert not loaded.modules & {"ray", "optuna"}


def test_a_version_says_what_it_is_and_how_sure_that_is(studied: Studied) -> None:
    done = studied.register(1)
    version, run = studied.champion(), studied.backend.runs()["trial 0001"]
    assert (str(version.version), version.run_id, done.is_new) == ("1", run.id, True)
    assert version.tags["study.certainty"] == " ".join(VERDICT.split())
    told = {"study.name": "faces", "study.trial": "1", "study.metric": "val_auc", "study.value": "0.71"}
    told |= {"study.data_fingerprint": "f" * 64, "study.model_id": done.model_id}
    assert told.items() <= version.tags.items()
    assert f"**How sure is that?** {VERDICT}" in version.description
    link = f"#/experiments/{run.experiment_id}/runs/{run.id}"
    assert link in version.description
    served = studied.backend.kind == "http"
    assert version.run_link == (f"{studied.backend.uri}/{link}" if served else None)


def test_a_version_carries_temperature_threshold_and_card(studied: Studied) -> None:
    decision = Decision(temperature=1.85, threshold=0.127, score_threshold=0.034)
    done = studied.register(1, decision=decision, card="# the card\n")
    version = studied.champion()
    told = {"study.temperature": "1.85", "study.threshold": "0.127", "study.score_threshold": "0.034"}
    assert told.items() <= version.tags.items()
    assert "divide the logit of a score by the temperature 1.85" in version.description
    assert "a score above 0.034, means" in version.description
    artifacts = studied.client.list_logged_model_artifacts(done.model_id)
    assert {"MODEL_CARD.md", "MLmodel"} <= {artifact.path for artifact in artifacts}
    studied.register(1, not_kept, decision=replace(decision, threshold=0.5), card="# newer\n")
    assert studied.champion().tags["study.threshold"] == "0.5"


def test_the_same_checkpoint_again_is_the_same_version(studied: Studied) -> None:
    first = studied.register(1)
    again = studied.register(1, not_kept, verdict="certain by now")
    assert (again.version, again.model_id, again.is_new) == (first.version, first.model_id, False)
    (version,) = studied.client.search_model_versions(f"name = '{studied.model}'")
    assert version.tags["study.certainty"] == "certain by now"
    assert "certain by now" in version.description
    noted = json.loads(studied.client.get_logged_model(first.model_id).tags[VERSIONS])
    assert noted == [{"name": studied.model, "version": 1}]


def test_a_better_checkpoint_is_the_next_version_and_takes_the_alias(studied: Studied) -> None:
    first = studied.register(1)
    play(studied.backend.open(), [studied.script.start(resumed=True), *studied.trial(), studied.end(2)])
    second = studied.register(2)
    assert (second.version, second.is_new) == ("2", True)
    assert str(studied.champion().version) == "2"
    assert studied.client.get_logged_model(first.model_id).tags["study.kept"] == "false"
    back = studied.register(1, not_kept)
    assert (back.version, back.is_new) == ("1", False), "a registered version needs no weights of the study"
    assert str(studied.champion().version) == "1"


def test_weights_that_were_not_kept_are_said_and_leave_no_version(local: Studied) -> None:
    with pytest.raises(ExportError, match="were not kept"):
        local.register(0, not_kept)
    assert local.client.search_registered_models() == []


def test_a_trial_the_server_does_not_know_is_said_with_the_way_out(local: Studied) -> None:
    with pytest.raises(TrackingError, match=r"that of trial 7 is not; `study sync faces --results .*` sends it"):
        local.register(7)


def test_a_server_that_is_away_is_said(local: Studied) -> None:
    away = replace(local.backend, uri="http://127.0.0.1:9")
    choice = SelectedCheckpoint(trial=1, metric="val_auc", value=0.7, candidates=2, verdict=VERDICT)
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9 cannot"):
        register(away.study(), "http://127.0.0.1:9", "masks", "champion", choice, not_kept, write_graph)


@pytest.mark.parametrize(
    ("name", "alias", "said"),
    [
        ("", "champion", "--register needs a name"),
        ("  ", "champion", "--register needs a name"),
        ("a/b", "champion", "without '/' and ':'"),
        ("a:b", "champion", "without '/' and ':'"),
        ("..", "champion", "--register needs a name"),
        ("a\nb", "champion", "--register needs a name"),
        ("x" * 251, "champion", "1 to 250 characters"),
        ("masks", "", "--alias needs letters"),
        ("masks", "the best", "--alias needs letters"),
        ("masks", "latest", "are MLflow's own"),
        ("masks", "v3", "are MLflow's own"),
    ],
)
def test_names_that_mlflow_does_not_take_are_refused(name: str, alias: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        require_names(name, alias)


def test_a_name_with_quotes_and_any_language_is_taken(local: Studied) -> None:
    name = 'Ann\'s "masks" größer 面具'
    done = local.register(1, name=name)
    assert local.register(1, name=name).version == done.version
    assert local.client.get_model_version_by_alias(name, "champion").tags["study.trial"] == "1"


def test_the_description_says_what_is_known_and_stays_within_mlflows_limit(local: Studied) -> None:
    look = FinalLook(1, 2, "val_auc", 0.0, {"auc": 0.625, "accuracy": 0.5})
    local.register(
        1, look=look, look_text="looked at once", configuration="It is the best seed of configuration 4.",
        verdict="long\0" * 2000,
    )  # fmt: skip
    text = local.champion().description
    assert len(text) == MAX_CHARACTERS
    local.register(1, look=look, look_text="looked at once", configuration="It is the best seed of configuration 4.")
    text = local.champion().description
    assert "`test.auc` 0.625, `test.accuracy` 0.5; looked at once." in text
    assert "best seed of configuration 4" in text
    assert "Output: the score of `wearing_mask` in [0, 1], [N]; the other class is `not_wearing_mask`." in text

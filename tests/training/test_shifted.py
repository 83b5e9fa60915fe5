"""Image sets that a trial neither learns from nor is selected on, unless it is told to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_kit import CPU, MAX_AUC, noisy_halves, numbers, plain_pixels, run, short_trial

from study.config.search_config import Objective
from study.errors import NonFiniteLossError
from study.metric_catalog import EVALUATED, PER_CLASS
from study.paths import SHIFTED_SCORES
from study.records import StopReason
from study.training import metrics, trainer
from study.training.checkpoint import best_folder, load_weights
from study.training.evaluate import evaluate_shifted
from study.training.models.architectures import build_model
from study.training.trainer import TrainingTask, train, validate_logits
from study.training.training_data import LabelledImages, TrainingData
from study.training.trial_resume import TrialCheckpoints

PLAIN = noisy_halves(train=16, val=12, contrast=20, size=16)


def with_shifted() -> TrainingData:
    far = noisy_halves(train=14, val=2, contrast=60, size=16)
    one_class = LabelledImages(far.val_images, np.zeros(2, np.int64))
    return replace(PLAIN, shifted={"far": LabelledImages(far.train_images, far.train_labels), "one class": one_class})


DATA = with_shifted()
CONFIG = short_trial(max_epochs=3, batch_size=8, learning_rate=0.003)


def by_hand(folder: Path, epoch: int | None, images: np.ndarray) -> np.ndarray:
    """Return the scores of a checkpoint."""
    assert epoch is not None
    model = build_model(short_trial())
    model.load_state_dict(load_weights(best_folder(folder, epoch)))
    with torch.inference_mode():
        return model.eval()(plain_pixels(images))[:, 0].double().sigmoid().numpy()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    folder = tmp_path_factory.mktemp("shifted")
    return list(train(CONFIG, DATA, MAX_AUC, folder, device=CPU)), folder


def test_only_the_end_of_a_trial_meets_them(ended: tuple[list[Any], Path]) -> None:
    *before, last = ended[0]
    assert not any(progress.evaluation for progress in before)
    assert not any(name.startswith("shifted.") for epoch in last.history for name in epoch.values)
    classes = {f"{kind}.{name}" for kind in PER_CLASS for name in DATA.classes}
    assert {name for name in last.evaluation if name.startswith("shifted.far.")} == {
        f"shifted.far.{name}" for name in set(EVALUATED) | classes
    }
    assert "shifted.one class.accuracy" in last.evaluation
    assert "shifted.one class.auc" not in last.evaluation


def test_they_are_scored_by_the_selected_checkpoint(ended: tuple[list[Any], Path]) -> None:
    last, folder = ended[0][-1], ended[1]
    labels = DATA.shifted["far"].labels
    scores = by_hand(folder, last.best_epoch, DATA.shifted["far"].images)
    assert last.evaluation["shifted.far.auc"] == metrics.roc_auc(scores, labels)
    assert last.evaluation["shifted.far.accuracy"] == np.mean((scores > 0.5) == labels)
    loss = -np.log(np.where(labels == 1, scores, 1 - scores)).mean()
    assert last.evaluation["shifted.far.loss"] == pytest.approx(loss, rel=1e-4)
    with np.load(folder / SHIFTED_SCORES) as stored:
        assert set(stored.files) == {f"{name}/{kind}" for name in DATA.shifted for kind in ("scores", "labels")}
        assert np.allclose(stored["far/scores"], scores, atol=1e-5)
        assert np.array_equal(stored["far/labels"], labels)


def test_they_change_no_number_of_training(ended: tuple[list[Any], Path], tmp_path: Path) -> None:
    assert numbers(run(CONFIG, PLAIN, tmp_path)) == numbers(ended[0][-1])


def test_an_ended_trial_is_evaluated_again_without_training(
    ended: tuple[list[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (ended[1] / SHIFTED_SCORES).unlink()

    def refuse(*_: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(trainer, "train_epoch", refuse)
    (again,) = train(CONFIG, DATA, MAX_AUC, ended[1], device=CPU)
    assert again == ended[0][-1]
    assert (ended[1] / SHIFTED_SCORES).is_file()


def test_the_earlier_epoch_is_evaluated_where_it_is_the_selected_one(tmp_path: Path) -> None:
    objective = Objective(metric="train_loss", mode="max")  # the first epoch
    last = run(short_trial(max_epochs=2, batch_size=8, ema_decay=0.9), DATA, tmp_path, objective)
    assert last.best_epoch == 1
    scores = by_hand(tmp_path, 1, DATA.shifted["far"].images)
    assert last.evaluation["shifted.far.auc"] == metrics.roc_auc(scores, DATA.shifted["far"].labels)


def test_a_trial_that_is_steered_by_one_scores_it_after_every_epoch(tmp_path: Path) -> None:
    objective = Objective(metric="shifted.far.auc", mode="max")
    last = run(short_trial(max_epochs=2, batch_size=8), DATA, tmp_path, objective)
    seen = [epoch.values["shifted.far.auc"] for epoch in last.history]
    assert last.best_value == max(seen)
    assert last.best_epoch == seen.index(max(seen)) + 1
    assert last.evaluation["shifted.far.auc"] == last.best_value
    assert {name for name in last.history[0].values if name.startswith("shifted.")} == set(last.evaluation)


@pytest.mark.parametrize("patience, each_epoch", [(None, False), (1, True)])
def test_early_stopping_by_one_scores_it_after_every_epoch_if_it_is_on(
    tmp_path: Path, patience: int | None, each_epoch: bool
) -> None:
    config = short_trial(early_stopping_metric="shifted.far.auc", early_stopping_patience=patience)
    assert (
        TrainingTask(config, DATA, MAX_AUC, TrialCheckpoints(tmp_path, {})).evaluates_shifted_each_epoch is each_epoch
    )


def test_a_pruned_trial_is_evaluated_too(tmp_path: Path) -> None:
    seen = list(train(CONFIG, DATA, MAX_AUC, tmp_path, device=CPU, pruned=lambda epoch: True))
    assert [(progress.epoch, progress.ended) for progress in seen] == [(1, None), (1, StopReason.PRUNED)]
    scores = by_hand(tmp_path, 1, DATA.shifted["far"].images)
    assert seen[-1].evaluation["shifted.far.auc"] == metrics.roc_auc(scores, DATA.shifted["far"].labels)
    (again,) = train(CONFIG, DATA, MAX_AUC, tmp_path, device=CPU, pruned=lambda epoch: True)
    assert again == seen[-1]


def test_a_set_on_which_the_model_overflows_has_no_scores() -> None:
    labels = {name: images.labels for name, images in DATA.shifted.items()}
    name, *others = labels
    logits = {key: np.linspace(-1, 1, len(of)) for key, of in labels.items()}
    logits[name] = np.where(np.arange(len(labels[name])) == 0, np.inf, logits[name])
    results = evaluate_shifted(logits, DATA)
    assert not any(key.startswith(f"shifted.{name}.") for key in results)
    assert all(f"shifted.{other}.loss" in results for other in others)
    with pytest.raises(NonFiniteLossError, match="logits of shifted set dark must be finite"):
        validate_logits(logits[name], "logits of shifted set dark")

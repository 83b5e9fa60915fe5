"""Three classes from the first step to the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from training_kit import CPU, first_images, plain_pixels, run, short_trial, three_stripes

from study.metric_catalog import EVALUATED, PER_CLASS
from study.training import evaluate
from study.training.checkpoint import best_folder, load_scores, load_weights, read_card
from study.training.learner import make_learner
from study.training.models.architectures import build_model, predict
from study.training.progress import TrainingProgress

DATA = three_stripes()
CONFIG = short_trial(
    max_epochs=2, batch_size=12, loss="focal", class_weights="balanced", sampling="balanced", augmentation="cutmix"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingProgress, Path]:
    folder = tmp_path_factory.mktemp("three")
    done = run(CONFIG, DATA, folder)
    assert done.best_epoch is not None
    return done, best_folder(folder, done.best_epoch)


def logits_by_hand(folder: Path) -> np.ndarray:
    model = build_model(CONFIG, outputs=3)
    model.load_state_dict(load_weights(folder))
    with torch.inference_mode():
        return model.eval()(plain_pixels(DATA.val_images)).double().numpy()


def selected(done: TrainingProgress) -> dict[str, float]:
    return dict(next(epoch.values for epoch in done.history if epoch.epoch == done.best_epoch))


def test_there_is_a_logit_for_each_class() -> None:
    network = make_learner(CONFIG, DATA, CPU).network
    assert predict(network, first_images(DATA, 7)).shape == (7, 3)


def test_every_metric_of_three_classes_is_there(trained: tuple[TrainingProgress, Path]) -> None:
    expected = {f"val_{name}" for name in EVALUATED if name != "threshold"}
    expected |= {f"val_{kind}.{name}" for kind in PER_CLASS for name in DATA.classes}
    for epoch in trained[0].history:
        assert {name for name in epoch.values if name.startswith("val_")} == expected
        assert all(np.isfinite(value) for value in epoch.values.values())


def test_the_scores_are_the_softmax_of_the_weights(trained: tuple[TrainingProgress, Path]) -> None:
    done, folder = trained
    logits = logits_by_hand(folder)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores, labels = load_scores(folder)
    assert scores.shape == (18, 3)
    assert np.allclose(scores, shares, atol=1e-5)
    assert np.array_equal(labels, DATA.val_labels)
    values = selected(done)
    assert values["val_auc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    assert values["val_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-4)
    assert values["val_accuracy"] == accuracy_score(labels, scores.argmax(1))
    assert values["val_f1"] == pytest.approx(f1_score(labels, scores.argmax(1), average="macro"))


def test_the_judge_finds_what_validation_found(trained: tuple[TrainingProgress, Path], monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluate.devices, "pick_device", lambda: CPU)
    done, folder = trained
    results, _ = evaluate.evaluate_checkpoint(folder, DATA.val_images, DATA.val_labels)
    values = selected(done)
    assert {f"val_{name}" for name in results} == {name for name in values if name.startswith("val_")}
    for name, value in results.items():
        assert value == pytest.approx(values[f"val_{name}"], rel=1e-4, abs=1e-5), name


def test_the_judge_scores_other_images_otherwise(trained: tuple[TrainingProgress, Path]) -> None:
    results, _ = evaluate.evaluate_checkpoint(trained[1], DATA.train_images, DATA.train_labels)
    assert results["loss"] != selected(trained[0])["val_loss"]
    assert read_card(trained[1]).classes == ("top", "middle", "bottom")

"""Averaged weights by hand; a trial with everything at once ends the same whatever interrupts it."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_kit import CPU, MAX_AUC, noisy_halves, numbers, plain_pixels, run, short_trial

from study.config.hyperparameters import TrialConfig
from study.training import metrics
from study.training.checkpoint import best_folder, load_scores, load_weights
from study.training.dataset import DeviceImages
from study.training.learner import Learner, image_order, make_learner, train_epoch
from study.training.models.architectures import build_model
from study.training.trainer import train

DATA = noisy_halves(train=24, val=16, contrast=20, size=16)
EVERYTHING: dict[str, Any] = {
    "max_epochs": 3,
    "batch_size": 8,
    "ema_decay": 0.8,
    "schedule": "cosine",
    "warmup_epochs": 0.7,
    "sampling": "balanced",
    "augmentation": "flip+mixup(0.4)",
    "head": "mlp",
    "head_width": 32,
    "head_dropout": 0.4,
    "clip_grad_norm": 1.0,
    "label_smoothing": 0.1,
}


def images_of(data: Any = DATA) -> DeviceImages:
    return DeviceImages(data.train_images, data.train_labels, CPU)


def states_of_an_epoch(learner: Learner, config: TrialConfig) -> list[dict[str, torch.Tensor]]:
    """Return the trained model's state after each step of an epoch."""
    seen: list[dict[str, torch.Tensor]] = []
    learner.optimizer.register_step_post_hook(
        lambda *_: seen.append(copy.deepcopy(dict(learner.network.model.state_dict())))
    )
    train_epoch(learner, images_of(), image_order(config, DATA.train_labels, 1), config, 1)
    return seen


@pytest.mark.parametrize("decay", [0.2, 0.99])
def test_the_average_is_that_of_every_step_batch_norm_statistics_included(decay: float) -> None:
    config = short_trial(batch_size=4, ema_decay=decay, optimizer="sgd", learning_rate=0.05)
    learner = make_learner(config, DATA, CPU)
    average = {name: tensor.double() for name, tensor in copy.deepcopy(learner.network.model.state_dict()).items()}
    states = states_of_an_epoch(learner, config)
    assert len(states) == 6
    for step, state in enumerate(states, start=1):
        kept = min(decay, (1 + step) / (10 + step))
        average = {name: kept * average[name] + (1 - kept) * tensor.double() for name, tensor in state.items()}
    evaluated = learner.evaluated_network.model
    assert evaluated is not learner.network.model
    for name, averaged in evaluated.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert averaged.item() == 6
        else:
            assert torch.allclose(averaged.double(), average[name], rtol=1e-4, atol=1e-6), name
    last = states[-1]
    assert not torch.allclose(evaluated.state_dict()["bn1.running_mean"], last["bn1.running_mean"], atol=1e-4)
    assert not any(tensor.requires_grad for tensor in evaluated.parameters())


def test_the_average_changes_no_step() -> None:
    states = []
    for decay in (None, 0.9):
        config = short_trial(batch_size=8, ema_decay=decay)
        states.append(states_of_an_epoch(make_learner(config, DATA, CPU), config)[-1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_checkpoint_holds_averaged_weights_and_their_scores(tmp_path: Path) -> None:
    config = short_trial(max_epochs=1, batch_size=8, ema_decay=0.5)
    done = run(config, DATA, tmp_path)
    stored = load_weights(best_folder(tmp_path, 1))
    learner = make_learner(config, DATA, CPU)
    train_epoch(learner, images_of(), image_order(config, DATA.train_labels, 1), config, 1)
    averaged, trained = learner.evaluated_network.model.state_dict(), learner.network.model.state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in averaged.items())
    assert not torch.equal(stored["conv1.weight"], trained["conv1.weight"])

    model = build_model(config)
    model.load_state_dict(stored)
    with torch.inference_mode():
        logits = model.eval()(plain_pixels(DATA.val_images))[:, 0]
    scores, labels = load_scores(best_folder(tmp_path, 1))
    assert np.allclose(scores, logits.double().sigmoid().numpy(), atol=1e-5)
    assert metrics.roc_auc(scores, labels) == done.history[0].values["val_auc"]


def weights_in(folder: Path, epoch: int | None) -> dict[str, torch.Tensor]:
    assert epoch is not None
    return load_weights(best_folder(folder, epoch))


@pytest.mark.parametrize("changed", [{}, {"precision": "bf16", "channels_last": True, "optimizer": "sgd"}])
def test_a_trial_with_everything_is_the_same_to_the_last_bit_however_interrupted(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    config = short_trial(**(EVERYTHING | changed))
    torch.manual_seed(1)
    whole = run(config, DATA, tmp_path / "whole")
    for after in (2,) if changed else (1, 2):
        torch.manual_seed(20 + after)  # what another process would have drawn
        folder = tmp_path / str(after)
        for _ in islice(train(config, DATA, MAX_AUC, folder, device=CPU), after):
            torch.rand(after)
        torch.rand(1000)
        resumed = run(config, DATA, folder)
        assert numbers(resumed) == numbers(whole)
        ours, theirs = weights_in(folder, resumed.best_epoch), weights_in(tmp_path / "whole", whole.best_epoch)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_dropout_depends_on_the_seed() -> None:
    heads = []
    for seed in (3, 3, 4):
        config = short_trial(batch_size=8, head_dropout=0.5, seed=seed, freeze="backbone")
        weights = make_learner(short_trial(), DATA, CPU).network.model.state_dict()
        learner = make_learner(config, DATA, CPU)
        model: Any = learner.network.model
        model.load_state_dict(weights)
        train_epoch(learner, images_of(), torch.arange(24), config, 1)
        heads.append(model.fc.weight.detach().clone())
        torch.rand(3)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])

"""What a batch is made of: which images, how often, and normalised how."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_kit import CPU, MAX_AUC, noisy_halves, run, short_trial

from study.errors import DataError
from study.training.checkpoint import best_folder, load_scores, load_weights, read_card
from study.training.dataset import EVAL_BATCH_SIZE, DeviceImages, balanced_order
from study.training.learner import image_order, make_learner, normalization, train_epoch
from study.training.models.architectures import build_model, predict
from study.training.trainer import train
from study.training.training_data import pixel_statistics

DATA = noisy_halves(train=24, val=12, size=16)
KNOWN = {
    "none": ([0, 0, 0], [1, 1, 1]),
    "half": ([0.5, 0.5, 0.5], [1, 1, 1]),
    "symmetric": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "dataset": ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
}


@pytest.mark.parametrize("counts", [[3000, 100], [100, 3000], [2000, 500, 100]])
def test_balanced_sampling_shows_every_class_equally_often(counts: list[int]) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    order = balanced_order(labels, seed=3, epoch=1).numpy()
    assert len(order) == len(labels)
    share, error = 1 / len(counts), np.sqrt(0.25 / len(order))
    assert np.bincount(labels[order]) / len(order) == pytest.approx([share] * len(counts), abs=4 * error)
    # Within a class every image is as likely as any other: the rare ones come back about equally often.
    rare = labels == int(np.argmin(counts))
    times = np.bincount(order, minlength=len(labels))[rare]
    expected = len(order) * share / min(counts)
    assert times.min() > 0
    assert ((times - expected) ** 2 / expected).sum() == pytest.approx(min(counts), abs=5 * np.sqrt(2 * min(counts)))


def test_a_sampled_order_is_a_function_of_seed_and_epoch() -> None:
    labels = DATA.train_labels
    config = short_trial(sampling="balanced")
    first = image_order(config, labels, 1)
    torch.rand(5)
    assert torch.equal(first, image_order(config, labels, 1))
    assert not torch.equal(first, image_order(config, labels, 2))
    assert not torch.equal(first, image_order(short_trial(sampling="balanced", seed=4), labels, 1))
    assert Counter(image_order(short_trial(), labels, 1).tolist()) == Counter(range(24))
    assert max(Counter(first.tolist()).values()) > 1


def test_balanced_class_weights_pull_a_30_to_1_trial_to_the_middle() -> None:
    labels = np.array([0] * 30 + [1], dtype=np.int64)
    data = replace(DATA, train_images=np.full((31, 16, 16, 3), 90, np.uint8), train_labels=labels)
    biases = {}
    for weights in ("none", "balanced"):
        config = short_trial(batch_size=31, class_weights=weights, freeze="backbone", optimizer="sgd", momentum=0.0)
        learner = make_learner(config, data, CPU)
        model = learner.network.model
        with torch.no_grad():
            model.get_parameter("fc.weight").zero_()
            model.get_parameter("fc.bias").zero_()
        train_epoch(learner, DeviceImages(data.train_images, labels, CPU), torch.arange(31), config, 1)
        biases[weights] = model.get_parameter("fc.bias").item()
    # The slope at 0 is the weighted mean of 1/2 - label: 29/62 as they are, 0 where both classes weigh the same.
    assert biases["none"] == pytest.approx(-1e-3 * 29 / 62, rel=1e-4)
    assert biases["balanced"] == pytest.approx(0, abs=1e-9)


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"batch_size must be <= the number of training images, 24, but got 25"):
        next(train(short_trial(batch_size=25), DATA, MAX_AUC, tmp_path, device=CPU))
    assert not list(tmp_path.iterdir())
    assert run(short_trial(batch_size=24, max_epochs=1), DATA, tmp_path).epoch == 1


@pytest.mark.parametrize("name", list(KNOWN))
@pytest.mark.parametrize("channels_last", [False, True])
def test_pixels_are_normalised_as_the_name_says(name: str, channels_last: bool) -> None:
    mean, std = map(np.array, KNOWN[name])
    data = replace(DATA, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    given = normalization(short_trial(normalization=name), data)
    held = DeviceImages(DATA.train_images, DATA.train_labels, CPU, normalization=given)
    index = [3, 0, 7]
    batch, targets = held.take(torch.tensor(index), channels_last=channels_last)
    expected = ((DATA.train_images[index] / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert np.allclose(held.normalize(batch).numpy(), expected, atol=1e-5)
    assert targets.tolist() == [[1.0 - label, float(label)] for label in DATA.train_labels[index]]
    untouched, _ = held.take(torch.tensor(index), channels_last=channels_last)
    assert np.allclose(untouched.numpy(), DATA.train_images[index].transpose(0, 3, 1, 2) / 255)


def test_pixel_statistics_are_numpys() -> None:
    images = np.random.default_rng(2).integers(0, 256, (600, 5, 5, 3)).astype(np.uint8)  # more than two blocks
    images[..., 1] //= 3
    images[..., 2] = 17
    mean, std = pixel_statistics(images)
    exact = images.astype(np.float64) / 255
    assert mean == pytest.approx(exact.mean((0, 1, 2)), rel=1e-12)
    assert std[:2] == pytest.approx(exact.std((0, 1, 2))[:2], rel=1e-12)
    assert std[2] == 1.0


@pytest.mark.parametrize("name", ["dataset", "half"])
def test_the_checkpoint_says_how_its_pixels_were_normalised(tmp_path: Path, name: str) -> None:
    mean, std = pixel_statistics(DATA.train_images)
    config = short_trial(max_epochs=1, batch_size=12, normalization=name)
    run(config, replace(DATA, mean=mean, std=std, resize="pad"), tmp_path)
    folder = best_folder(tmp_path, 1)
    card = read_card(folder).preprocessing
    used = (list(mean), list(std)) if name == "dataset" else KNOWN["half"]
    assert (card["mean"], card["std"]) == used
    assert (card["image_size_px"], card["resize_mode"]) == (16, "pad")
    assert card["resize"] == "longer side, centred on black"
    model = build_model(config)
    model.load_state_dict(load_weights(folder))
    pixels = ((DATA.val_images / 255 - np.array(card["mean"])) / np.array(card["std"])).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(pixels.astype(np.float32)))[:, 0]
    assert np.allclose(load_scores(folder)[0], logits.double().sigmoid().numpy(), atol=1e-5)


def images_of(size_px: int, count: int = 1) -> DeviceImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8)
    return DeviceImages(pixels, np.zeros(count, np.int64), CPU)


@pytest.mark.parametrize(
    ("size_px", "fp32", "bf16"), [(16, 256, 256), (48, 113, 227), (64, 64, 128), (112, 20, 41), (224, 16, 16)]
)
def test_a_cpu_classifies_as_many_images_at_once_as_its_caches_hold(size_px: int, fp32: int, bf16: int) -> None:
    images = images_of(size_px)
    assert (images.eval_batch_size("fp32"), images.eval_batch_size("bf16")) == (fp32, bf16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_do_not_depend_on_how_many_images_are_classified_at_once(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = images_of(112, 45)
    network = make_learner(short_trial(precision=precision), DATA, CPU).network
    in_batches = predict(network, images)
    assert images.eval_batch_size(precision) < len(images)
    monkeypatch.setattr(DeviceImages, "eval_batch_size", lambda self, precision: EVAL_BATCH_SIZE)
    at_once = predict(network, images)
    assert in_batches == pytest.approx(at_once, abs=1e-5 * np.abs(at_once).max())

"""One temperature makes probabilities honest, and thresholds keep what their rule promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import UsageError
from study.export.calibration import calibrate, choose_threshold, logits_of, negative_log_likelihood, parse_rule
from study.export.checkpoint_export import select_threshold
from study.training.metrics import log_loss, probabilities

RNG = np.random.default_rng(4)


def drawn(logits: np.ndarray) -> np.ndarray:
    """Draw the labels of images whose true probabilities are those of the logits."""
    scores = probabilities(logits)
    if scores.ndim == 1:
        return (RNG.random(len(scores)) < scores).astype(np.int64)
    return (RNG.random((len(scores), 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(max=scores.shape[1] - 1)


@pytest.mark.parametrize("shape", [(20_000,), (20_000, 4)], ids=["two classes", "four classes"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_spoiled_probabilities_is_found(shape: tuple[int, ...], temperature: float) -> None:
    honest = RNG.normal(0, 1.5, shape)
    labels = drawn(honest)
    fit = calibrate(honest * temperature, labels)
    assert fit.temperature == pytest.approx(temperature, rel=0.06)
    assert fit.nll_after <= fit.nll_before
    assert fit.ece_after < 0.02
    if temperature != 1:
        assert fit.ece_before > 3 * fit.ece_after
    assert fit.note == ""


def test_scores_that_say_nothing_are_called_so() -> None:
    labels = np.arange(40) % 2
    alike = calibrate(np.full(40, 0.0), labels)
    assert (alike.temperature, alike.note) == (1, "")
    three = np.tile([0.0, 5.0, 0.0], (40, 1)), np.arange(40) % 3
    for logits, truth in ((np.full(40, 3.0), labels), (np.where(labels == 1, -4.0, 4.0), labels), three):
        fit = calibrate(logits, truth)
        assert fit.temperature == pytest.approx(20, rel=0.01)
        assert "its scores say next to nothing about the 40 validation images" in fit.note


def test_scores_that_hardly_differ_are_called_so() -> None:
    labels = np.arange(40) % 2
    logits = np.where(labels == 1, 1e-3, -1e-3)
    logits[0] = 1e-3  # one mistake
    fit = calibrate(logits, labels)
    assert fit.temperature == pytest.approx(0.05, rel=0.01)
    assert "a colder one would fit better" in fit.note


@pytest.mark.parametrize("logit", [2.0, -2.0])
def test_validation_images_of_one_class_are_no_fault(logit: float) -> None:
    fit = calibrate(np.full(6, logit), np.ones(6, np.int64))
    assert ("not fitted" in fit.note) == (logit > 0)
    assert fit.nll_after <= fit.nll_before


def test_without_a_mistake_nothing_is_fitted() -> None:
    fit = calibrate(np.array([-2.0, -0.1, 0.3, 4.0]), np.array([0, 0, 1, 1]))
    assert fit.temperature == 1
    assert fit.nll_before == fit.nll_after
    assert "no validation image is called wrong" in fit.note


def test_the_likelihood_is_that_of_the_training() -> None:
    logits, labels = RNG.normal(size=50), RNG.integers(0, 2, 50)
    assert negative_log_likelihood(logits, labels) == pytest.approx(log_loss(logits, labels))
    two = np.stack([np.zeros(50), logits], axis=1)
    assert negative_log_likelihood(two, labels) == pytest.approx(log_loss(logits, labels))


@pytest.mark.parametrize("logits", [RNG.normal(0, 5, 40), RNG.normal(0, 5, (40, 3))])
def test_scores_give_their_logits_back(logits: np.ndarray) -> None:
    again = logits_of(probabilities(logits))
    np.testing.assert_allclose(probabilities(again / 1.7), probabilities(logits / 1.7), atol=1e-9)
    assert np.isfinite(logits_of(np.array([0.0, 1.0]))).all()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_recall_is_kept_by_the_highest_threshold_that_keeps_it(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 30))
    scores = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), min_size=size, max_size=size))
    )
    labels = np.array([0, 1, *data.draw(st.lists(st.integers(0, 1), min_size=size - 2, max_size=size - 2))])
    wanted = data.draw(st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
    positives = scores[labels == 1]
    if (positives > 0).mean() < wanted:
        with pytest.raises(UsageError, match=r"needs a probability above 0 of as many .* ask for less"):
            choose_threshold(f"recall={wanted}", scores, labels)
        return
    threshold = choose_threshold(f"recall={wanted}", scores, labels)
    assert (positives > threshold).mean() >= wanted
    higher = np.unique(scores[scores > threshold])
    if len(higher):
        assert (positives > higher[0]).mean() < wanted


def test_the_balanced_threshold_is_better_balanced_than_one_half() -> None:
    labels = (RNG.random(2000) < 0.1).astype(np.int64)
    scores = probabilities(RNG.normal(-2.5 + 2 * labels, 1.0))
    threshold = choose_threshold("balanced", scores, labels)

    def balanced(at: float) -> float:
        return float(((scores > at)[labels == 1].mean() + (scores <= at)[labels == 0].mean()) / 2)

    assert threshold < 0.4
    assert balanced(threshold) > balanced(0.5) + 0.1


@pytest.mark.parametrize("rule", ["balanced", "recall=1"])
def test_a_threshold_holds_where_it_is_rounded_as_probabilities_are(rule: str) -> None:
    # As float32 these are neighbours, 1 and the number before it.
    logits, labels = np.array([17.0, 17.0, 40.0, 40.0]), np.array([0, 0, 1, 1])
    threshold = select_threshold(rule, logits, labels)
    assert threshold is not None
    assert list(probabilities(logits).astype(np.float32) > threshold) == [False, False, True, True]


@pytest.mark.parametrize("rule", ["0.5", "balanced", "recall=0.9"])
def test_scores_that_are_all_equal_have_a_threshold(rule: str) -> None:
    threshold = select_threshold(rule, np.zeros(6), np.arange(6) % 2)
    assert threshold is not None
    assert 0 <= threshold <= 1
    if rule == "recall=0.9":
        assert threshold < 0.5


@pytest.mark.parametrize("rule", ["0.4", "best", "recall", "recall=", "recall=0", "recall=1.5", "recall=nan", "f1=0.9"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match=r"--threshold must be 0\.5, balanced, or recall=R"):
        parse_rule(rule)


def test_a_rule_needs_both_classes() -> None:
    with pytest.raises(UsageError, match="needs validation images of both classes"):
        choose_threshold("balanced", np.array([0.1, 0.4]), np.array([1, 1]))
    assert choose_threshold("0.5", np.array([0.1, 0.4]), np.array([1, 1])) == 0.5

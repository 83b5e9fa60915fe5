"""Our metrics against scikit-learn's, ties and extremes included."""

from __future__ import annotations

import time
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name
from numpy.typing import NDArray
from sklearn import metrics as reference

from study.metric_catalog import EVALUATED, PER_CLASS, metric_named, metric_slug
from study.training import metrics

NAMES = ("a", "b", "c", "d", "e")
Case = tuple[NDArray[np.float64], NDArray[np.int64], tuple[str, ...]]

unhurried = settings(deadline=None)
labelled = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=2, max_size=60)
mixed = labelled.filter(lambda rows: len({label for _, label in rows}) == 2)


@st.composite
def cases(draw: st.DrawFn, least: int = 2) -> Case:
    """Draw logits with ties and extremes, and labels that may lack classes; two classes come in both shapes."""
    seed, size, classes = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 60)), draw(st.integers(least, 5))
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (size, classes)) * draw(st.sampled_from([0.0, 0.5, 3.0, 300.0]))
    labels = rng.integers(0, draw(st.integers(1, classes)), size)
    if classes == 2 and draw(st.booleans()):
        logits = logits[:, 1]
    return logits, rng.permutation(classes)[labels], NAMES[:classes]


def scored(case: Case) -> tuple[dict[str, float], NDArray[np.float64], NDArray[np.int64]]:
    """Return what we say, the probabilities [M, K] and the predicted class, computed apart."""
    logits, labels, classes = case
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    return metrics.evaluate(case[0], labels, classes), chances, chances.argmax(axis=1)


@unhurried
@given(cases())
def test_counts_are_scikit_learns(case: Case) -> None:
    _, labels, classes = case
    results, _, called = scored(case)
    everything = {"labels": range(len(classes)), "zero_division": 0}
    by_class = reference.precision_recall_fscore_support(labels, called, **everything)[:3]
    macro = reference.precision_recall_fscore_support(labels, called, average="macro", zero_division=0)[:3]
    for kind, values, mean in zip(PER_CLASS, by_class, macro, strict=True):
        assert [results[f"{kind}.{name}"] for name in classes] == pytest.approx(list(values), abs=1e-12)
        assert results[f"macro_{kind}"] == pytest.approx(mean, abs=1e-12)
    assert results["accuracy"] == pytest.approx(reference.accuracy_score(labels, called), abs=1e-12)
    two = reference.f1_score(labels, called, zero_division=0) if len(classes) == 2 else macro[2]
    assert results["f1"] == pytest.approx(two, abs=1e-12)
    if len(set(labels)) == len(classes):
        assert results["macro_recall"] == pytest.approx(reference.balanced_accuracy_score(labels, called), abs=1e-12)


@unhurried
@given(cases())
def test_auc_is_scikit_learns_and_left_out_without_a_class(case: Case) -> None:
    _, labels, classes = case
    results, chances, _ = scored(case)
    if len(set(labels)) < len(classes):
        assert not {"auc", "threshold"} & set(results)
        return
    assert ("threshold" in results) is (len(classes) == 2)
    if case[0].ndim == 1:
        chances = metrics.sigmoid(case[0])[:, None].repeat(2, axis=1)
    scores = chances[:, 1] if len(classes) == 2 else chances
    expected = reference.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert results["auc"] == pytest.approx(expected, abs=1e-12)


@unhurried
@given(cases())
def test_loss_is_scikit_learns(case: Case) -> None:
    logits, labels, classes = case
    results, chances, _ = scored(case)
    if np.abs(logits).max() < 20:  # beyond, scikit-learn clips the probabilities
        expected = reference.log_loss(labels, chances, labels=range(len(classes)))
        assert results["loss"] == pytest.approx(expected, rel=1e-9)


@unhurried
@given(cases())
def test_calibration_error_is_that_of_a_plain_loop(case: Case) -> None:
    _, labels, _ = case
    results, chances, called = scored(case)
    bins: dict[int, list[tuple[bool, float]]] = {}
    for chance, predicted, label in zip(chances, called, labels, strict=True):
        place = next(at for at in range(1, 16) if chance[predicted] <= np.linspace(0, 1, 16)[at] + 1e-15)
        bins.setdefault(place, []).append((predicted == label, float(chance[predicted])))
    expected = 0.0
    for rows in bins.values():
        right = sum(hit for hit, _ in rows) / len(rows)
        expected += len(rows) / len(labels) * abs(right - sum(chance for _, chance in rows) / len(rows))
    assert results["ece"] == pytest.approx(expected, abs=1e-9)


def test_a_confidence_at_the_edge_of_a_bin_belongs_below_it() -> None:
    edge, above = 0.8, np.nextafter(0.8, 1)
    apart = metrics.calibration_error(np.array([edge, above]), np.array([True, False]))
    assert apart == pytest.approx((0.2 + 0.8) / 2)
    together = metrics.calibration_error(np.array([edge, edge]), np.array([True, False]))
    assert together == pytest.approx(0.3)


@unhurried
@given(cases(), st.booleans())
def test_threshold_is_the_best_of_all(case: Case, fine: bool) -> None:
    labels = (case[1] > 0).astype(np.int64)
    if len(set(labels)) < 2:
        return
    rng = np.random.default_rng(len(labels))
    scores = rng.random(len(labels)) if fine else rng.integers(0, 6, len(labels)) / 5
    values = [0.0, *sorted(set(scores.tolist())), 1.0]
    candidates = {(low + high) / 2 for low, high in pairwise(values)} - {0.0}
    balanced = {
        at: reference.balanced_accuracy_score(labels, scores > at) for at in sorted(candidates) if at < 1 or 1 in scores
    }
    best = [at for at, value in balanced.items() if value > max(balanced.values()) - 1e-12]
    expected = min(best, key=lambda at: (round(abs(at - 0.5), 12), at))
    assert metrics.best_threshold(scores, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "scores, labels, expected",
    [
        ([0.2, 0.3, 0.6, 0.9], [0, 0, 1, 1], 0.45),
        ([0.75, 0.25], [0, 1], 0.125),  # upside down: all or nothing is best; 0.125 and 0.875 are equally near
        ([0.7, 0.7], [0, 1], 0.35),
        ([0.0, 1.0], [1, 0], 1.0),  # no threshold in [0, 1] makes a score of 0 positive
    ],
)
def test_threshold_of_a_few_scores(scores: list[float], labels: list[int], expected: float) -> None:
    assert metrics.best_threshold(np.array(scores), np.array(labels)) == pytest.approx(expected, abs=1e-15)


def test_threshold_of_neighbouring_floats_is_the_lower() -> None:
    low = np.nextafter(0.5, 1)  # its middle with the next float rounds up
    scores = np.array([low, np.nextafter(low, 1)])
    assert metrics.best_threshold(scores, np.array([0, 1])) == low


@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 4)])
def test_every_name_is_one_the_vocabulary_knows(shape: tuple[int, ...]) -> None:
    classes = NAMES[: 2 if len(shape) == 1 else shape[1]]
    results = metrics.evaluate(np.arange(np.prod(shape)).reshape(shape) * 0.1, np.arange(6) % len(classes), classes)
    by_class = {f"{kind}.{name}" for kind in PER_CLASS for name in classes}
    assert set(results) == {*EVALUATED, *by_class} - ({"threshold"} if len(classes) > 2 else set())
    assert all(metric_named(f"val_{name}") and metric_named(f"shifted.dark.{name}") for name in results)
    assert all(type(value) is float for value in results.values())


def test_two_columns_are_the_difference_in_one() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 2)).astype(np.float32), rng.integers(0, 2, 50)
    difference = logits[:, 1].astype(np.float64) - logits[:, 0]
    assert metrics.evaluate(logits, labels, NAMES[:2]) == metrics.evaluate(difference, labels, NAMES[:2])


def test_a_score_of_one_half_is_negative() -> None:
    results = metrics.evaluate(np.zeros(4), np.array([0, 0, 0, 1]), NAMES[:2])
    assert (results["accuracy"], results["recall.a"], results["recall.b"], results["auc"]) == (0.75, 1, 0, 0.5)


@pytest.mark.parametrize("classes", [2, 3])
def test_extreme_logits_neither_overflow_nor_round_to_nothing(classes: int) -> None:
    logits = np.full((2, classes), -1000.0)
    logits[:, 1] = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = metrics.evaluate(logits, np.array([0, 1]), NAMES[:classes])
        assert results["loss"] == 1000
        assert metrics.probabilities(logits).tolist() == [[0, 1, 0][:classes]] * 2
        assert metrics.log_loss(np.array([1000.0, -1000.0]), np.array([0, 0])) == 500
        assert metrics.probabilities(np.array([1000.0, -1000.0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "logits, labels, classes, expected",
    [
        (np.zeros(3), [0, 1, 2], 2, r"labels must be in \[0, 2\), but got 0 to 2"),
        (np.zeros(3), [0, 1, -1], 2, "got -1 to 1"),
        (np.zeros(3), [0, 1, 1], 3, r"logits \[3\], labels \[3\] and 3 classes"),
        (np.zeros((3, 2)), [0, 1, 1], 3, r"logits \[3, 2\]"),
        (np.zeros(3), [0, 1], 2, r"labels \[2\]"),
        (np.zeros((2, 1)), [0, 0], 1, "1 classes"),
        (np.zeros(0), [], 2, "M > 0"),
    ],
)
def test_what_does_not_fit_is_refused(
    logits: NDArray[np.float64], labels: list[int], classes: int, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        metrics.evaluate(logits, np.array(labels, dtype=np.int64), NAMES[:classes])


@pytest.mark.parametrize(
    "name, expected",
    [
        ("wearing_mask", "wearing_mask"),
        ("with mask: no-2.0", "with mask: no-2.0"),
        ("ä/é?", "ä_é_"),
        ("e\u0301", "é"),  # as macOS writes a folder's name
        ("戴口罩", "戴口罩"),
        ("", "_"),
        ("x" * 300, "x" * 150),
    ],
)
def test_a_class_name_in_a_metric_name(name: str, expected: str) -> None:
    assert metric_slug(name) == expected


@unhurried
@given(st.text(max_size=300))
def test_mlflow_takes_every_class_name(name: str) -> None:
    _validate_metric_name(f"shifted.{'s' * 80}.precision.{metric_slug(name)}")


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="`a/b` and `a_b` are both `a_b`"):
        metrics.evaluate(np.zeros(2), np.array([0, 1]), ("a/b", "a_b"))


def test_the_cost_grows_with_the_images_and_not_with_their_square() -> None:
    rng = np.random.default_rng(0)

    def least_s(images: int) -> float:
        logits, labels = rng.normal(size=images), rng.integers(0, 2, images)
        spent_s = []
        for _ in range(5):
            started = time.process_time()
            metrics.evaluate(logits, labels, NAMES[:2])
            spent_s.append(time.process_time() - started)
        return min(spent_s)

    assert least_s(200_000) < 100 * least_s(10_000)


@unhurried
@given(mixed)
def test_roc_auc_counts_ties_as_scikit_learn_does(rows: list[tuple[int, int]]) -> None:
    scores, labels = np.array(rows, dtype=np.float64).T
    assert metrics.roc_auc(scores, labels.astype(int)) == pytest.approx(
        reference.roc_auc_score(labels, scores), abs=1e-12
    )


def test_a_single_class_has_no_roc_curve() -> None:
    with pytest.raises(ValueError, match="both classes"):
        metrics.roc_auc(np.array([0.1, 0.2]), np.array([1, 1]))

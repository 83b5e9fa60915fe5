"""The curves behind the figures against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from report_kit import judged
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from study.figures import curves


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [1, 16], ids=["many ties", "no ties"])
def test_roc_is_that_of_scikit_learn(seed: int, decimals: int) -> None:
    stream = np.random.default_rng(seed)
    scores, positive = np.round(stream.random(300), decimals), stream.random(300) < 0.3
    curve = curves.roc(scores, positive)
    x, y, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert curve is not None
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    assert curve.area == pytest.approx(roc_auc_score(positive, scores))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [1, 16], ids=["many ties", "no ties"])
def test_precision_and_recall_are_those_of_scikit_learn(seed: int, decimals: int) -> None:
    stream = np.random.default_rng(seed)
    scores, positive = np.round(stream.random(300), decimals), stream.random(300) < 0.3
    curve = curves.precision_recall(scores, positive)
    precision, recall, _ = precision_recall_curve(positive, scores)
    assert curve is not None
    np.testing.assert_allclose(curve.x, recall[::-1])
    np.testing.assert_allclose(curve.y, precision[::-1])
    assert curve.area == pytest.approx(average_precision_score(positive, scores))


def test_a_missing_class_has_no_curve() -> None:
    scores, none, every = np.array([0.1, 0.9]), np.zeros(2, bool), np.ones(2, bool)
    assert curves.roc(scores, none) is None
    assert curves.roc(scores, every) is None
    assert curves.precision_recall(scores, none) is None


@pytest.mark.parametrize("classes", [2, 5])
def test_confusion_is_that_of_scikit_learn(classes: int) -> None:
    stream = np.random.default_rng(0)
    called, labels = stream.integers(0, classes, 200), stream.integers(0, classes - 1, 200)
    wanted = confusion_matrix(labels, called, labels=range(classes))
    np.testing.assert_array_equal(curves.confusion(called, labels, classes), wanted)


def test_calibration_is_that_of_a_plain_loop() -> None:
    evaluated = judged(500)
    scores = np.append(evaluated.scores, [0.0, 1.0, 0.2, 0.4])  # edges of bins
    right = np.append(evaluated.labels == 1, [False, True, True, False])
    calibration = curves.calibrate(scores, right)
    error = 0.0
    for at in range(15):
        low, high = np.linspace(0, 1, 16)[at : at + 2]
        inside = [i for i, s in enumerate(scores) if (low < s <= high) or (at == 0 and s == 0)]
        assert calibration.counts[at] == len(inside)
        if inside:
            score, share = np.mean([scores[i] for i in inside]), np.mean([float(right[i]) for i in inside])
            assert (calibration.score[at], calibration.share[at]) == (pytest.approx(score), pytest.approx(share))
            error += abs(score - share) * len(inside) / len(scores)
    assert calibration.counts.sum() == len(scores)
    assert calibration.error == pytest.approx(error)


def test_an_empty_bin_is_a_gap() -> None:
    calibration = curves.calibrate(np.array([0.01, 0.99]), np.array([False, True]))
    assert np.isnan(calibration.score[1:-1]).all()
    assert calibration.error == pytest.approx(0.01)


def test_the_most_wrong_are_the_right_ones_in_order() -> None:
    evaluated = judged(300, 3)
    losses = [
        (-np.log(row[label]), at)
        for at, (row, label) in enumerate(zip(evaluated.scores, evaluated.labels, strict=True))
    ]
    wanted = [at for _, at in sorted(losses, reverse=True)][:25]
    assert curves.most_wrong(evaluated.scores, evaluated.labels, 25).tolist() == wanted
    assert len(curves.most_wrong(evaluated.scores[:4], evaluated.labels[:4], 25)) == 4


def test_ties_keep_their_order_and_zero_is_worst() -> None:
    scores = curves.class_scores(np.array([0.5, 0.0, 0.5, 1.0, 0.5]))
    assert curves.most_wrong(scores, np.array([1, 1, 0, 1, 1]), 4).tolist() == [1, 0, 2, 4]


def test_thinning_moves_the_curve_by_less_than_can_be_seen() -> None:
    evaluated = judged(20_000)
    curve = curves.roc(evaluated.scores + 1e-4 * np.random.default_rng(1).random(20_000), evaluated.labels == 1)
    assert curve is not None
    assert len(curve.x) > 2000
    kept = curves.thin(curve.x, curve.y)
    assert len(kept) <= curves.MAX_POINTS
    assert kept[0] == 0
    assert kept[-1] == len(curve.x) - 1
    assert (np.diff(kept) > 0).all()
    # The distance of every point to the polyline that is drawn, measured along both axes: the smaller one counts.
    drawn = curve.x[kept], curve.y[kept]
    up, across = np.abs(np.interp(curve.x, *drawn) - curve.y), np.abs(np.interp(curve.y, *drawn[::-1]) - curve.x)
    assert np.minimum(up, across).max() < 2 * curves.INVISIBLE


def test_thinning_keeps_peaks_within_its_limit() -> None:
    x = np.arange(5000.0)
    y = np.random.default_rng(0).normal(0, 0.001, 5000)
    y[1234], y[4000] = 1.0, -1.0
    kept = curves.thin(x, y, limit=20)
    assert len(kept) == 20
    assert {0, 1234, 4000, 4999} <= set(kept.tolist())
    assert curves.thin(x[:2], y[:2]).tolist() == [0, 1]
    assert curves.thin(x, 2 * x).tolist() == [0, 4999]
    assert curves.thin(np.zeros(3), np.zeros(3)).tolist() == [0, 2]

"""Our metrics against scikit-learn's, ties and extremes included."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from study.training import metrics

labelled = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=2, max_size=60)
mixed = labelled.filter(lambda rows: len({label for _, label in rows}) == 2)


@given(mixed)
def test_roc_auc_counts_ties_as_scikit_learn_does(rows: list[tuple[int, int]]) -> None:
    scores, labels = np.array(rows, dtype=np.float64).T
    assert metrics.roc_auc(scores, labels.astype(int)) == pytest.approx(
        reference.roc_auc_score(labels, scores), abs=1e-12
    )


@given(labelled)
def test_accuracy_f1_and_loss_are_scikit_learns(rows: list[tuple[int, int]]) -> None:
    logits, labels = np.array(rows, dtype=np.float64).T
    labels = labels.astype(int)
    scores = metrics.sigmoid(logits)
    called = scores > 0.5
    assert metrics.accuracy(scores, labels) == pytest.approx(reference.accuracy_score(labels, called))
    assert metrics.f1(scores, labels) == pytest.approx(reference.f1_score(labels, called, zero_division=0))
    expected = reference.log_loss(labels, scores, labels=[0, 1])
    assert metrics.log_loss(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_extreme_logits_neither_overflow_nor_round_to_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.log_loss(np.array([1000.0, -1000.0]), np.array([0, 0])) == 500
        assert metrics.sigmoid(np.array([1000.0, -1000.0])).tolist() == [1, 0]


def test_a_single_class_has_no_roc_curve() -> None:
    with pytest.raises(ValueError, match="both classes"):
        metrics.roc_auc(np.array([0.1, 0.2]), np.array([1, 1]))

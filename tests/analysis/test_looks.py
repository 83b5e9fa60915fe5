"""Results that are looked at again as they grow, and configurations measured on different images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.analysis.statistics.contrast import LEVEL, look_level
from study.analysis.statistics.influence import influence
from study.analysis.verdict import Comparison, against_baseline, compare_runs, judge, unpaired_contrast

LOOKS = 4


def _compare(scores: np.ndarray, labels: np.ndarray, metric: str) -> Comparison:
    """Compare scores [configurations, seeds, images]."""
    configurations, seeds, images = scores.shape
    measured = influence(metric, scores.reshape(-1, images), labels)
    return compare_runs(
        metric, measured, np.repeat(np.arange(configurations), seeds), np.tile(np.arange(seeds), configurations)
    )


def _scores(rng: np.random.Generator, shape: tuple[int, int, int], seed_sd: float, lead: float = 0.0) -> np.ndarray:
    labels = np.arange(shape[2]) % 2
    separation = 1.8 + seed_sd * rng.standard_normal((shape[0], shape[1], 1))
    separation[0] += lead
    return (
        separation * (labels - 0.5) + 0.8 * rng.standard_normal(shape[2])
        + 0.4 * rng.standard_normal((shape[0], 1, shape[2])) + 0.45 * rng.standard_normal(shape)
    )  # fmt: skip


@pytest.mark.parametrize("seeds", [(3, 6, 9, 12), (20, 40, 80, 160)])
def test_students_test_looked_at_again_keeps_six_and_a_half_percent(seeds: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal((40_000, seeds[-1]))
    told, naive = np.zeros((2, len(values)), np.bool_)
    for look, count in enumerate(seeds, 1):
        p = stats.ttest_1samp(values[:, :count], 0, axis=1).pvalue
        told |= p < look_level(look)
        naive |= p < LEVEL
    assert told.mean() < 0.065
    assert naive.mean() > 0.09  # what this guards against


def test_equal_configurations_looked_at_again_after_every_three_seeds() -> None:
    studies, wins, naive = 250, 0, 0
    labels = np.arange(300) % 2
    for study in range(studies):
        scores = _scores(np.random.default_rng([2, study]), (2, 3 * LOOKS, 300), 0.15)
        looks = [_compare(scores[:, : 3 * look], labels, "auc") for look in range(1, LOOKS + 1)]
        contrasts = [each.to_others(each.order[0], each.order[1:])[0] for each in looks]
        naive += any(each.is_certain for each in contrasts)
        looks_at = [each.to_others(each.order[0], each.order[1:], look_level(i))[0] for i, each in enumerate(looks, 1)]
        wins += any(each.is_certain for each in looks_at)
    assert wins / studies <= 0.065 + 3.1 * math.sqrt(0.065 * 0.935 / studies)
    assert wins < naive


def test_everything_that_is_said_follows_the_level() -> None:
    scores = _scores(np.random.default_rng(3), (4, 3, 600), 0.1, 0.25)
    comparison = _compare(scores, np.arange(600) % 2, "auc")
    usual, careful = judge(comparison), judge(comparison, level=0.001)
    assert (usual.level, careful.level) == (0.05, 0.001)
    assert usual == judge(comparison, level=0.05)
    assert set(usual.may_be_best) <= set(careful.may_be_best)
    for plain, wide in zip(usual.differences, careful.differences, strict=True):
        assert wide.high - wide.low > 1.3 * (plain.high - plain.low)
        assert wide.is_certain == (wide.p < 0.001)
    for narrow, other in zip(usual.standings, careful.standings, strict=True):
        assert other.low < narrow.low < narrow.high < other.high
        assert other.rank_low <= narrow.rank_low <= narrow.rank_high <= other.rank_high
    assert careful.winner.low < usual.winner.low < usual.winner.high < careful.winner.high
    rows = zip(against_baseline(comparison, 1), against_baseline(comparison, 1, level=0.001), strict=True)
    assert all(k == 1 or wide.high - wide.low > 1.3 * (row.high - row.low) for k, (row, wide) in enumerate(rows))


def test_a_lead_that_is_certain_at_the_first_look_is_not_at_a_later_one() -> None:
    comparison = _compare(_scores(np.random.default_rng(10), (2, 3, 600), 0.1, 0.45), np.arange(600) % 2, "auc")
    p = judge(comparison).differences[0].p
    assert look_level(3) < p < LEVEL
    assert judge(comparison).verdict == "yes"
    assert judge(comparison, level=look_level(3)).verdict == "undecided"


@pytest.mark.parametrize("metric", ["auc", "accuracy", "f1", "loss"])
def test_differences_on_other_images_are_covered(metric: str) -> None:
    covered, told, studies = 0, 0, 150
    labels = np.arange(300) % 2
    for study in range(studies):
        rng = np.random.default_rng([5, study])
        sides = [_compare(1 / (1 + np.exp(-_scores(rng, (1, 3, 300), 0.15))), labels, metric) for _ in range(2)]
        contrast = unpaired_contrast(sides[0], 0, sides[1], 0)
        covered += contrast.low <= 0 <= contrast.high
        told += contrast.is_certain
        assert contrast.is_certain == (contrast.low > 0 or contrast.high < 0)
    assert 1 - covered / studies <= 0.07 + 3.1 * math.sqrt(0.07 * 0.93 / studies)
    assert told == studies - covered


def test_the_unpaired_interval_is_that_of_newcombe_with_exact_ends() -> None:
    labels = np.arange(60) % 2
    sides = []
    for images, wrong in ((60, 4), (40, 12)):
        scores = labels[:images].astype(float)[None, None].copy()
        scores[0, 0, :wrong] = 1 - scores[0, 0, :wrong]
        sides.append(_compare(scores, labels[:images], "accuracy"))
    contrast = unpaired_contrast(sides[0], 0, sides[1], 0)
    ends = [stats.binomtest(k, n).proportion_ci(method="exact") for k, n in ((56, 60), (28, 40))]
    assert contrast.value == pytest.approx(56 / 60 - 28 / 40)
    assert contrast.low == pytest.approx(contrast.value - math.hypot(56 / 60 - ends[0].low, ends[1].high - 28 / 40))
    assert contrast.high == pytest.approx(contrast.value + math.hypot(ends[0].high - 56 / 60, 28 / 40 - ends[1].low))
    assert contrast.is_certain
    assert contrast.p == pytest.approx(stats.fisher_exact([[56, 4], [28, 12]]).pvalue, abs=0.005)


def test_few_images_and_perfect_ones_are_no_claim_unpaired() -> None:
    labels = np.arange(6) % 2
    right, wrong = labels.astype(float)[None, None], labels.astype(float)[None, None].copy()
    wrong[0, 0, :2] = 1 - wrong[0, 0, :2]
    for metric in ("accuracy", "f1", "auc"):
        sides = _compare(right, labels, metric), _compare(wrong, labels, metric)
        contrast = unpaired_contrast(sides[0], 0, sides[1], 0)
        assert not contrast.is_certain, metric
        same = unpaired_contrast(sides[0], 0, sides[0], 0)
        assert (same.value, same.p) == (0, 1)
        assert same.low < -0.01 < 0.01 < same.high

"""The verdict: the claims it was built to doubt, odd inputs, and statements about many at once."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats

from study.analysis.power import (
    VarianceComponents,
    cheapest,
    components_of,
    images_needed,
    power,
    seeds_needed,
)
from study.analysis.statistics.influence import influence
from study.analysis.statistics.simultaneous import joint_errors, may_be_best, rank_intervals, simultaneous_half_widths
from study.analysis.verdict import Comparison, Judgement, against_baseline, compare_runs, judge
from study.analysis.verdict_words import verdict_words


def _compare(scores: np.ndarray, labels: np.ndarray, metric: str, groups: np.ndarray | None = None) -> Comparison:
    """Compare scores [configurations, seeds, images] or [..., classes]."""
    configurations, seeds = scores.shape[:2]
    measured = influence(metric, scores.reshape(-1, *scores.shape[2:]), labels, groups)
    return compare_runs(
        metric, measured, np.repeat(np.arange(configurations), seeds), np.tile(np.arange(seeds), configurations)
    )


def _judge(scores: np.ndarray, labels: np.ndarray, metric: str, groups: np.ndarray | None = None) -> Judgement:
    return judge(_compare(scores, labels, metric, groups))


def _answers(images: int, *wrong: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores [configurations, 1, images] that are wrong on these images, and labels."""
    labels = np.arange(images) % 2
    scores = np.tile(labels.astype(float), (len(wrong), 1, 1))
    for row, at in zip(scores, wrong, strict=True):
        row[0, list(at)] = 1 - row[0, list(at)]
    return scores, labels


@pytest.mark.parametrize(
    ("images", "fewer", "more", "mid_p"),
    [(21, 1, 4, 0.125), (6, 0, 2, 0.25), (3245, 2, 4, 0.25)],
    ids=["20-against-17-of-21", "6-against-4-of-6", "99.94-against-99.87-percent-of-3245"],
)
def test_claims_from_a_few_images_are_never_certain(images: int, fewer: int, more: int, mid_p: float) -> None:
    for shared in (fewer, 0):  # the same pictures wrong in both, or others in each
        first, second = set(range(fewer)), set(range(fewer - shared, fewer - shared + more))
        found = _judge(*_answers(images, first, second), "accuracy")
        assert found.verdict == "undecided"
        assert found.about == "checkpoints"
        assert found.may_be_best == (0, 1)
        assert found.differences[0].p >= mid_p - 1e-9
        assert found.differences[0].low < 0 < found.differences[0].high


def test_99_94_against_99_87_percent_needs_12700_to_38200_images() -> None:
    for second, needed in (({0, 1, 2, 3}, 12_700), ({2, 3, 4, 5}, 38_200)):
        comparison = _compare(*_answers(3245, {0, 1}, second), "accuracy")
        found = images_needed(components_of(comparison, 0, 1), 2 / 3245, 1)
        assert found == pytest.approx(needed, rel=0.01)


def test_an_auc_of_99965_against_99936_is_undecided() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(3245) % 2
    scores = (4.8 * (labels - 0.5) + 0.8 * rng.standard_normal(3245) + 0.6 * rng.standard_normal((2, 1, 3245))) / 12
    found = _judge(scores, labels, "auc")
    assert {round(each.value, 3) for each in found.standings} <= {0.999, 1.0}
    assert found.verdict == "undecided"


def test_a_clear_lead_over_seeds_is_certain_and_over_one_seed_only_of_checkpoints() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(1000) % 2
    base = rng.standard_normal(1000)
    lead = np.array([3.0, 1.5, 1.4, 1.3])[:, None, None]
    scores = lead * (labels - 0.5) + 0.7 * base + 0.7 * rng.standard_normal((4, 3, 1000))
    comparison = _compare(1 / (1 + np.exp(-scores)), labels, "auc")
    found = judge(comparison)
    assert (found.verdict, found.about, found.may_be_best) == ("yes", "configurations", (0,))
    assert (found.standings[0].rank_low, found.standings[0].rank_high) == (1, 1)
    assert all(each.rank_low > 1 for each in found.standings[1:])
    words = verdict_words(comparison, found, "abcd")
    assert words.startswith("yes: +0.1")
    assert words.endswith("images); beats each of 3")
    once = _compare(1 / (1 + np.exp(-scores[:, :1])), labels, "auc")
    assert judge(once).about == "checkpoints"
    words = verdict_words(once, judge(once), "abcd")
    assert words.startswith("which checkpoint: a, +0.1")
    assert words.endswith("on images like these; which configuration: unknown, each ran once")


def test_a_configuration_that_ran_once_among_others_with_seeds_is_never_certain() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(3000) % 2
    lead = np.array([5.0, 3, 3, 3])[:, None, None]
    scores = lead * (labels - 0.5) + 0.9 * rng.standard_normal(3000) + 0.4 * rng.standard_normal((4, 3, 3000))
    kept = np.array([0, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    measured = influence("auc", scores.reshape(12, -1)[kept], labels)
    comparison = compare_runs("auc", measured, kept // 3, kept % 3)
    found = judge(comparison, draws=2000)
    assert (found.leader, found.verdict, found.about) == (0, "undecided", "configurations")
    assert found.may_be_best == comparison.order
    assert (found.standings[0].rank_low, found.standings[0].rank_high) == (1, 4)
    assert all(each.p >= 0.05 and each.low <= 0 for each in found.differences)
    assert "a ran once, and one seed does not answer for a configuration" in verdict_words(comparison, found, "abcd")
    assert not any(each.is_certain for each in against_baseline(comparison, 0, draws=2000))
    assert judge(_compare(scores, labels, "auc"), draws=2000).verdict == "yes"  # with its other seeds


def test_parts_of_an_error_are_no_larger_than_the_whole_and_none_is_called_0() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(600) % 2
    lead = np.array([3.5, 2.0])[:, None, None]
    for own in (0.2, 1.5):  # seeds that err alike, and seeds whose images alone make them differ
        scores = lead * (labels - 0.5) + rng.standard_normal(600) + own * rng.standard_normal((2, 4, 600))
        comparison = _compare(1 / (1 + np.exp(-scores)), labels, "auc")
        found = judge(comparison, draws=2000)
        words = verdict_words(comparison, found, "ab")
        assert found.verdict == "yes"
        assert "+-0 " not in words
        half = (found.differences[0].high - found.differences[0].low) / 2
        parts = re.findall(r"\+-([\d.e-]+) (?:seeds|images)", words)
        assert parts
        assert all(0 < float(part) <= 1.01 * half for part in parts)
        assert ("seeds add none that shows" in words) == (found.differences[0].se_seed == 0)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "loss", "ece"])
def test_a_winner_is_never_expected_to_be_better_than_measured(metric: str) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 2
    for lead in (2.0, 2.2, 4.0):
        scores = np.array([lead, 2.0, 2.0])[:, None, None] * (labels - 0.5) + rng.standard_normal((3, 2, 300))
        winner = judge(_compare(1 / (1 + np.exp(-scores)), labels, metric), draws=500).winner
        assert winner.corrected >= winner.raw if metric in ("loss", "ece") else winner.corrected <= winner.raw
        assert winner.low <= winner.corrected <= winner.high


def test_seeds_that_change_nothing_count_as_one() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    scores = np.array([2.5, 0.5])[:, None, None] * (labels - 0.5) + rng.standard_normal((2, 1, 400))
    found = _judge(np.repeat(1 / (1 + np.exp(-scores)), 3, axis=1), labels, "accuracy")
    assert (found.about, found.is_deterministic) == ("checkpoints", True)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "f1", "recall", "precision", "loss", "macro_f1"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_predictions_are_never_told_apart(metric: str, seeds: int) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(100) % 2
    one = rng.random((1, seeds, 100)) * 0.5 + 0.5 * labels * rng.random(100)
    found = _judge(np.repeat(one, 3, axis=0), labels, metric)
    assert found.verdict == "undecided"
    assert found.may_be_best == (0, 1, 2)
    for each in found.differences:
        assert each.value == 0
        assert each.low < -1e-4 < 1e-4 < each.high
        assert each.p == 1


@pytest.mark.parametrize("metric", ["auc", "accuracy", "loss", "f1"])
def test_perfect_and_constant_scores_give_no_claim_without_variance(metric: str) -> None:
    labels = np.arange(40) % 2
    scores = np.stack([labels * 0.8 + 0.1, np.full(40, 0.3)])[:, None]
    found = _judge(scores, labels, metric)
    if metric == "auc":
        assert found.verdict == "undecided"
    for each in found.standings:
        assert each.low <= each.value <= each.high
        assert each.high > each.low
    assert all(each.low < each.high for each in found.differences)


@pytest.mark.parametrize("images", [2, 3, 6, 10, 21])
@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("metric", ["auc", "accuracy", "f1", "loss", "macro_recall"])
def test_tiny_sets_give_ordered_finite_answers(images: int, seeds: int, metric: str) -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(images) % 2
    found = _judge(rng.random((5, seeds, images)), labels, metric)
    for each in found.differences:
        assert each.low <= each.value <= each.high
        assert 0 <= each.p <= 1
        assert math.isfinite(each.low) or metric == "loss" or not found.known
    for standing in found.standings:
        assert standing.low <= standing.value <= standing.high
        assert 1 <= standing.rank_low <= standing.rank_high <= 5
    if metric == "auc" and images == 2:
        assert not found.known
        assert found.verdict == "undecided"


def test_six_images_are_never_enough_for_an_auc() -> None:
    labels, wins = np.array([0, 0, 0, 1, 1, 1]), 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        wins += _judge(rng.random((2, 1, 6)), labels, "auc").verdict == "yes"
    assert wins <= 1


def test_one_huge_group_hides_what_it_decides() -> None:
    labels = np.arange(1000) % 2
    right, wrong = labels.astype(float), 1.0 - labels
    second = np.where(np.arange(1000) < 400, wrong, right)
    second[::37] = wrong[::37]
    scores = np.stack([right, second])[:, None]
    assert _judge(scores, labels, "accuracy").verdict == "yes"
    groups = np.where(np.arange(1000) < 400, -1, np.arange(1000))
    assert _judge(scores, labels, "accuracy", groups).verdict == "undecided"


def test_a_loss_is_better_when_it_is_lower() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(800) % 2
    good = np.where(labels == 1, 0.9, 0.1) + 0.05 * rng.standard_normal(800)
    bad = np.clip(np.where(labels == 1, 0.6, 0.4) + 0.15 * rng.standard_normal(800), 0.01, 0.99)
    found = _judge(np.stack([bad, np.clip(good, 0.01, 0.99)])[:, None], labels, "loss")
    assert (found.leader, found.verdict) == (1, "yes")
    assert found.differences[0].high < 0
    assert found.winner.low < found.winner.raw < found.winner.high


def test_three_seeds_of_one_wide_configuration_are_said_to_scatter() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(3000) % 2
    separation = 2 + 0.02 * rng.standard_normal((6, 4))
    separation[1] += np.array([-1.0, 0.9, -0.4, 0.6])
    scores = separation[:, :, None] * (labels - 0.5) + 0.9 * rng.standard_normal(3000)
    scores = scores + 0.3 * rng.standard_normal((6, 4, 3000))
    assert 1 in _judge(1 / (1 + np.exp(-scores)), labels, "auc").scatters


def test_statements_about_many_are_dunnetts_where_errors_are_independent() -> None:
    rng = np.random.default_rng(7)
    labels = np.arange(20_000) % 2
    scores = rng.random((5, 1, 20_000))  # errors of different configurations are independent
    comparison = _compare(scores, labels, "accuracy")
    errors = joint_errors(comparison.strict_model)
    units = comparison.runs.mean_units
    error = np.sqrt(((units[0] - units[1:]) ** 2).sum(axis=1))
    ratios = simultaneous_half_widths(errors, 0)[1:] / error
    np.testing.assert_allclose(ratios, 2.44, rtol=0.02)  # Dunnett 1964, table III, 4 comparisons, endless images
    rows = against_baseline(comparison, 0)
    assert rows[1].value == pytest.approx(comparison.runs.means[1] - comparison.runs.means[0])
    assert rows[1].high - rows[1].value == pytest.approx(2.44 * error[0], rel=0.03)


def test_ranks_and_tie_set_agree_with_counting_where_all_is_far_apart() -> None:
    labels = np.arange(3000) % 2
    rng = np.random.default_rng(8)
    separation = np.array([1.0, 4.0, 2.0, 3.0])[:, None, None]
    comparison = _compare(separation * (labels - 0.5) + rng.standard_normal((4, 1, 3000)), labels, "auc")
    errors = joint_errors(comparison.strict_model)
    assert rank_intervals(comparison.runs.means, errors).tolist() == [[4, 4], [1, 1], [3, 3], [2, 2]]
    assert may_be_best(comparison.runs.means, errors).tolist() == [False, True, False, False]


def test_the_corrected_value_is_below_the_measured_one_where_twenty_are_equal() -> None:
    labels = np.arange(300) % 2
    excess, kept = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = 1.8 * (labels - 0.5) + rng.standard_normal((20, 1, 300))
        winner = judge(_compare(scores, labels, "auc"), draws=500).winner
        true = float(stats.norm.cdf(1.8 / math.sqrt(2)))
        excess.append((winner.raw - true, winner.corrected - true))
        kept.append(winner.low <= true <= winner.high)
    raw, corrected = np.mean(excess, axis=0)
    assert raw > 0.02
    assert abs(corrected) < 0.2 * 0.018
    assert np.mean(kept) > 0.9


@pytest.mark.parametrize(("seeds", "images", "difference"), [(1, 500, 0.03), (3, 1000, 0.03), (5, 1000, 0.02)])
def test_power_is_that_of_simulation(seeds: int, images: int, difference: float) -> None:
    parts = VarianceComponents(images=0.05, own_images=0.05, seeds=0.0001 * (seeds > 1))
    rng = np.random.default_rng(9)
    seen = 0
    for _ in range(400):
        shared = rng.standard_normal((1, 200)) * math.sqrt(parts.images / images / 200)
        own = rng.standard_normal((seeds, 200)) * math.sqrt(parts.own_images / images / 200)
        first = shared + own
        values = np.append(
            difference + first.sum(axis=1) + math.sqrt(parts.seeds) * rng.standard_normal(seeds), np.zeros(seeds)
        )
        values += 0.6  # far from 0 and 1
        units = np.concatenate([first, np.zeros((seeds, 200))])
        measured = influence("loss", np.full((2 * seeds, 200), 0.5), np.zeros(200, np.int64))
        measured = type(measured)(values, units, np.full(2 * seeds, 1e6))
        comparison = compare_runs("auc", measured, np.repeat([0, 1], seeds), np.tile(np.arange(seeds), 2))
        (found,) = comparison.to_others(0, [1])
        seen += found.p < 0.05
    assert power(parts, difference, seeds, images) == pytest.approx(seen / 400, abs=0.07)


def test_no_number_of_images_makes_up_for_three_seeds() -> None:
    parts = VarianceComponents(images=0.1, own_images=0.1, seeds=2 * 0.01**2)
    assert images_needed(parts, 0.005, 3) is None
    many = seeds_needed(parts, 0.005, 100_000)
    assert many is not None
    assert power(parts, 0.005, many, 100_000) >= 0.8 > power(parts, 0.005, many - 1, 100_000)
    found = cheapest(parts, 0.005, 3, 3000)
    assert found is not None
    assert power(parts, 0.005, *found) >= 0.8


def test_more_images_are_preferred_to_more_runs_where_both_show_as_much() -> None:
    parts = VarianceComponents(images=0.0, own_images=0.2, seeds=0.0)
    assert (found := cheapest(parts, 0.01, 3, 200)) is not None
    assert found[0] <= 10
    assert power(parts, 0.01, *found) >= 0.8 > power(parts, 0.01, found[0], 0.9 * found[1])
    assert (found := cheapest(VarianceComponents(0.0, 0.0, seeds=0.0009), 0.01, 3, 200)) is not None
    assert found[0] > 20, "fewer do not suffice"


def test_fewer_images_than_a_sign_test_needs_see_nothing() -> None:
    parts = VarianceComponents(0.01, 0.0, 0.0)
    assert [power(parts, 0.9, seeds, 5) for seeds in (1, 3)] == [0, 0]
    assert power(parts, 0.9, 3, 6) > 0.99
    assert images_needed(parts, 0.9, 3) == 6


def test_power_without_variance_or_difference() -> None:
    nothing = VarianceComponents(0.0, 0.0, 0.0)
    assert power(nothing, 0.1, 3, 10) == power(nothing, 0.1, 1, 10) == 1.0
    assert power(nothing, 0.0, 1, 10) == 0.05

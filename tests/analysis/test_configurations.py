"""Configurations ranked over their replicates, and how sure the first is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import C, F, P, R, record, table

from study.analysis.ranking import Configuration, count_replicates, rank_configurations
from study.analysis.significance import PairedVerdict, Verdict, difference_to, holm, judge_configurations, paired_t
from study.config.search_config import Objective
from study.records import TrialRecord, TrialState

AUC = (Objective(metric="val_auc", mode="max"),)
SHARP = (10**12, 10**12)
"""Images of each class, so many that they blur nothing."""


def ranked(records: Sequence[TrialRecord], planned: int = 3, *, by_pass: bool = False) -> list[Configuration]:
    return rank_configurations(records, AUC, planned, by_pass=by_pass)


def judged(*points: Sequence[float], planned: int = 3, counts: tuple[int, ...] = ()) -> Verdict:
    return judge_configurations(ranked(table(*points), planned), "max", counts)


def paired(verdict: Verdict) -> PairedVerdict:
    assert isinstance(verdict, PairedVerdict)
    return verdict


def test_mean_and_spread_by_hand() -> None:
    first, second = ranked(table([0.7, 0.8, 0.9], [0.9, 0.6, 0.6]))
    assert (first.point, first.rank, first.n, first.planned, first.state) == (0, 1, 3, 3, C)
    assert first.mean == pytest.approx(0.8)
    assert first.sd == pytest.approx(0.1)
    assert first.se == pytest.approx(0.1 / math.sqrt(3))
    assert (second.point, second.rank) == (1, 2)
    assert second.best is not None
    assert (first.best and first.best.trial, second.best.trial) == (2, 3)


def test_a_lucky_single_seed_does_not_outrank_those_that_ran_all() -> None:
    rows = ranked(table([0.8, 0.8, 0.8], [0.99], [0.95, (0.97, P)], [0.7, 0.7, 0.7]))
    assert [(row.point, row.rank, row.is_whole) for row in rows] == [
        (0, 1, True), (3, 2, True), (1, 3, False), (2, 4, False)
    ]  # fmt: skip


def test_a_stopped_seed_does_not_pull_the_mean_of_those_that_ran_to_the_end() -> None:
    (row,) = ranked(table([0.8, (0.1, P)]))
    assert (row.mean, row.sd, row.n, row.complete, row.state) == (0.8, None, 1, 1, P)
    (only,) = ranked(table([(0.1, P)]))
    assert (only.mean, only.n, only.complete, only.rank, only.is_whole) == (0.1, 1, 0, 1, False)


@pytest.mark.parametrize(
    "row, state",
    [
        ([0.8, 0.8, 0.8], C),
        ([0.8, 0.8], TrialState.WAITING),
        ([0.8, F, 0.8], F),
        ([(0.8, P), F, R], R),
        ([0.8, F, (0.8, P)], P),
    ],
)
def test_what_became_of_a_configuration(row: list[float], state: TrialState) -> None:
    (found,) = ranked(table(row))
    assert found.state is state


def test_without_a_value_a_configuration_has_no_rank() -> None:
    rows = ranked(table([F], [0.8, 0.8, 0.8], [R]))
    assert [(row.point, row.rank, row.mean, row.best is None) for row in rows] == [
        (1, 1, pytest.approx(0.8), False), (0, None, None, True), (2, None, None, True)
    ]  # fmt: skip


def test_a_listed_design_cut_short_is_judged_by_the_seeds_everybody_has() -> None:
    points = ([0.8, 0.8, 0.5], [0.9, 0.7], [0.6, 0.6], [(0.99, P)])
    cut = ranked(table(*points), by_pass=True)
    assert [(row.point, row.is_whole) for row in cut] == [(1, True), (0, True), (2, True), (3, False)]
    searched = ranked(table(*points))
    assert [(row.point, row.is_whole) for row in searched] == [(0, True), (3, False), (1, False), (2, False)]


def test_less_is_better_and_equals_go_by_loss() -> None:
    records = [record(at, {"val_auc": 0.5, "val_loss": loss}) for at, loss in enumerate((0.7, 0.3))]
    assert [row.point for row in rank_configurations(records, AUC, 1)] == [1, 0]
    loss = (Objective(metric="val_loss", mode="min"),)
    assert [row.point for row in rank_configurations(records, loss, 1)] == [1, 0]


def test_another_metric_is_averaged_over_the_same_trials() -> None:
    records = [record(at, {"val_auc": 0.5, "val_f1": f1}, point=0, replicate=at) for at, f1 in enumerate((0.2, 0.4))]
    (row,) = rank_configurations(records, AUC, 2)
    assert row.mean_of("val_f1") == pytest.approx(0.3)
    (holey,) = rank_configurations([records[0], replace(records[1], metrics={"val_auc": 0.5})], AUC, 2)
    assert holey.mean_of("val_f1") is None


def test_several_objectives_make_a_front_of_means() -> None:
    objectives = (*AUC, Objective(metric="latency_ms", mode="min"))
    cells = [[(0.9, 5.0), (0.8, 7.0)], [(0.8, 2.0), (0.7, 2.0)], [(0.7, 3.0), (0.7, 3.0)], [(0.99, 1.0)]]
    records = [
        record(10 * point + at, {"val_auc": auc, "latency_ms": ms}, point=point, replicate=at)
        for point, row in enumerate(cells)
        for at, (auc, ms) in enumerate(row)
    ]
    rows = rank_configurations(records, objectives, 2)
    assert [(row.point, row.rank) for row in rows] == [(0, 1), (1, 1), (2, 2), (3, 3)]
    assert rows[0].mean_of("latency_ms") == pytest.approx(6.0)


def test_replicates_are_counted() -> None:
    assert count_replicates([]) == 1
    assert count_replicates(table([0.1, 0.2, 0.3], [0.1])) == 3


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_the_paired_t_is_that_of_scipy(differences: list[float]) -> None:
    mean, half_width, p = paired_t(differences)
    if np.std(differences, ddof=1) < 1e-9:
        assert half_width == pytest.approx(0, abs=1e-7)
        return
    expected = scipy.stats.ttest_1samp(differences, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert mean == pytest.approx((low + high) / 2, abs=1e-9)
    assert half_width == pytest.approx((high - low) / 2)
    assert p == pytest.approx(expected.pvalue)


def test_differences_that_are_all_the_same() -> None:
    assert paired_t([0.5, 0.5]) == (0.5, 0.0, 0.0)
    assert paired_t([0.0, 0.0]) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="at least 2 differences, got 1"):
        paired_t([0.5])


def test_holm_by_hand_and_its_laws() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04; none may be below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni_s(values: list[float]) -> None:
    adjusted = holm(values)
    for p, one in zip(values, adjusted, strict=True):
        assert p <= one <= min(1.0, len(values) * p) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_the_interval_holds_the_true_difference_in_95_of_100_cases() -> None:
    rng, inside, cases = np.random.default_rng(1), 0, 3000
    for _ in range(cases):
        n, truth = int(rng.integers(2, 7)), float(rng.normal(0, 0.01))
        of_seed = rng.normal(0, 0.05, n)  # what both configurations share
        one, other = of_seed + truth + rng.normal(0, 0.01, n), of_seed + rng.normal(0, 0.01, n)
        mean, half_width, _ = paired_t((one - other).tolist())
        inside += abs(mean - truth) <= half_width
    assert 0.938 <= inside / cases <= 0.962  # 3 standard errors of a fraction of 3000


def test_equal_configurations_are_seldom_called_different() -> None:
    rng, wins, cases = np.random.default_rng(2), 0, 400
    for _ in range(cases):
        seeds = rng.normal(0, 0.05, 4)
        wins += judged(*(0.8 + seeds + rng.normal(0, 0.01, (5, 4))).tolist(), planned=4, counts=SHARP).tied == 0
    assert wins / cases <= 0.05


def test_a_difference_that_every_seed_shows_is_told_by_pairs_though_seeds_differ_more() -> None:
    verdict = paired(judged([0.70, 0.80, 0.90], [0.68, 0.781, 0.879], counts=SHARP))
    assert verdict.lead == pytest.approx(0.02)
    assert verdict.margin == pytest.approx(4.302653 * 0.001 / math.sqrt(3), rel=1e-6)
    assert (verdict.seeds, verdict.tied) == (3, 0)
    assert verdict.text.startswith("on these images yes: +0.02 +-0.0025 over the next in 3 paired seeds; ")


def test_no_lead_is_sure_on_nobody_knows_how_many_images() -> None:
    verdict = paired(judged([0.70, 0.80, 0.90], [0.68, 0.781, 0.879]))
    assert (verdict.lead, verdict.standard_error, verdict.tied) == (pytest.approx(0.02), None, None)
    assert verdict.text == (
        "not known: +0.02 +-0.0025 over the next in 3 paired seeds; "
        "the number of validation images is unknown, and so how much they alone blur it"
    )


def test_a_lead_that_is_chance_is_not_called_a_win() -> None:
    verdict = judged([0.80, 0.70, 0.90], [0.90, 0.70, 0.78], [0.1, 0.2, 0.3])
    assert verdict.tied == 1
    assert verdict.text.startswith("no: +0.0067 +-")
    assert verdict.text.endswith("over the next in 3 paired seeds; 1 of the other 2 cannot be told apart")


def test_many_comparisons_are_corrected_for() -> None:
    winner, near = [0.90, 0.92, 0.94], [0.88, 0.896, 0.926]  # p is about 0.03 by itself
    assert judged(winner, near, counts=SHARP).tied == 0
    assert judged(winner, near, near, near).tied == 3


def test_the_images_blur_a_lead_that_the_seeds_show() -> None:
    sharp = judged([0.70, 0.80, 0.90], [0.68, 0.781, 0.879], counts=(200_000, 200_000))
    assert "yes" in sharp.text
    assert "400000 validation images alone blur it by +-0.0014" in sharp.text
    blurred = judged([0.70, 0.80, 0.90], [0.68, 0.781, 0.879], counts=(200, 200))
    assert (blurred.tied, blurred.text[:3]) == (1, "no:")


def test_less_is_better_gives_a_lead_above_zero() -> None:
    loss = (Objective(metric="val_loss", mode="min"),)
    cells = [[0.30, 0.32, 0.34], [0.40, 0.43, 0.44]]
    records = [
        record(10 * point + at, {"val_loss": value}, point=point, replicate=at)
        for point, row in enumerate(cells)
        for at, value in enumerate(row)
    ]
    verdict = paired(judge_configurations(rank_configurations(records, loss, 3), "min"))
    assert verdict.lead == pytest.approx((0.10 + 0.11 + 0.10) / 3)
    assert verdict.tied == 0


def test_those_that_ran_fewer_seeds_are_not_judged() -> None:
    verdict = paired(judged([0.70, 0.80, 0.90], [0.68, 0.781, 0.879], [0.99]))
    assert verdict.unjudged == 1
    assert verdict.text.endswith("; not judged: 1 that ran fewer seeds")
    assert judged([0.7, 0.7, 0.7], [0.99]).text == (
        "nothing to compare with: one configuration that ran its seeds; not judged: 1 that ran fewer seeds"
    )
    assert judged([0.7], [0.8]).text == "not known: none of 2 configurations ran all its seeds yet"
    assert judge_configurations([], "max").text == "no: nothing is finished yet"


def test_one_shared_seed_says_nothing_of_the_spread() -> None:
    rows = ranked(table([0.8, 0.9], [0.7]), by_pass=True)
    verdict = judge_configurations(rows, "max", (200, 200))
    assert not isinstance(verdict, PairedVerdict)
    assert "too few seeds are shared" in verdict.text


def test_a_difference_to_the_baseline_is_taken_over_shared_seeds() -> None:
    base, other = sorted(ranked(table([0.7, 0.8, 0.9], [0.72, 0.81, 0.93])), key=lambda one: one.point)
    mean, half_width = difference_to(base, other) or (None, None)
    assert mean == pytest.approx(0.02)
    assert half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert difference_to(base, replace(other, counted=other.counted[:1])) == (pytest.approx(0.02), None)
    assert difference_to(base, replace(other, counted=())) is None

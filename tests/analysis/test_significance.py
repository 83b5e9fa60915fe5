"""Whether the first is really better: standard errors of metrics, and paired tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import record, table

from study.analysis.ranking import Configuration, rank_configurations, rank_trials
from study.analysis.significance import (
    PairedVerdict,
    Verdict,
    auc_standard_error,
    difference_to,
    holm,
    judge_best,
    judge_configurations,
    paired_t,
    proportion_standard_error,
)  # fmt: skip
from study.config.search_config import Objective
from study.records import TrialRecord, TrialState

AUC = Objective(metric="val_auc", mode="max")
LOSS = Objective(metric="val_loss", mode="min")
COUNTS = (250, 150)
SHARP = (10**12, 10**12)
"""Images of each class, so many that they blur nothing."""


def trial(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    metrics = {} if value is None else {"val_auc": value, "val_loss": 1 - value}
    checkpoint = None if value is None or state is TrialState.FAILED else f"trials/{number}"
    return TrialRecord("s", number, state, {}, {}, metrics=metrics, value=value, checkpoint=checkpoint)


def ranked(records: Sequence[TrialRecord], planned: int = 3, *, by_pass: bool = False) -> list[Configuration]:
    return rank_configurations(records, [AUC], planned, by_pass=by_pass)


def judged(*points: Sequence[float], planned: int = 3, counts: tuple[int, ...] = ()) -> Verdict:
    return judge_configurations(ranked(table(*points), planned), "max", counts)


def paired(verdict: Verdict) -> PairedVerdict:
    assert isinstance(verdict, PairedVerdict)
    return verdict


def test_auc_standard_error_is_what_resampling_gives() -> None:
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(400):
        negative, positive = rng.normal(0, 1, 80), rng.normal(1.5, 1, 60)
        aucs.append((positive[:, None] > negative[None]).mean())
    expected = auc_standard_error(float(np.mean(aucs)), 60, 80)
    assert expected == pytest.approx(np.std(aucs), rel=0.25)


def test_auc_standard_error_of_the_papers_example() -> None:
    # Hanley & McNeil 1982, table II: 0.893 on 58 normal and 51 abnormal, standard error about 0.032.
    assert auc_standard_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.0015)


def test_a_perfect_auc_on_few_images_is_not_certain() -> None:
    assert auc_standard_error(1.0, 6, 6) > 0.05
    assert 0 < auc_standard_error(1.0, 150, 250) < 0.01
    verdict = judge_best(rank_trials([trial(0, 1.0), trial(1, 0.99)], [AUC]), "val_auc", (6, 6))
    assert verdict.tied == 1


def test_a_perfect_fraction_is_not_certain() -> None:
    assert 0 < proportion_standard_error(1.0, 20) < 0.1
    assert proportion_standard_error(0.5, 10_000) == pytest.approx(0.005, rel=0.01)


def test_a_small_lead_is_not_called_a_win() -> None:
    close = judge_best(rank_trials([trial(0, 0.95), trial(1, 0.951)], [AUC]), "val_auc", COUNTS)
    assert close.tied == 1
    assert close.text.startswith("no:")
    far = judge_best(rank_trials([trial(0, 0.5), trial(1, 0.951)], [AUC]), "val_auc", COUNTS)
    assert far.tied == 0
    assert "yes" in far.text
    assert far.lead == pytest.approx(0.451)


def test_without_a_formula_the_verdict_says_so() -> None:
    verdict = judge_best(rank_trials([trial(0, 0.95), trial(1, 0.951)], [LOSS]), "val_loss", COUNTS)
    assert verdict.standard_error is None
    assert "not known" in verdict.text
    assert math.isclose(verdict.lead or 0, 0.001, rel_tol=1e-6)


@pytest.mark.parametrize(
    "metric, like",
    [
        ("shifted.dark.auc", "val_auc"),
        ("shifted.dark.accuracy", "val_accuracy"),
        ("shifted.a.b.auc", "val_auc"),
        ("shifted.dark.f1", None),
        ("shifted.dark.recall.auc", None),
        ("val_macro_recall", None),
        ("test.auc", None),
        ("train_accuracy", None),
    ],
)
def test_shifted_images_blur_a_lead_as_validation_images_do(metric: str, like: str | None) -> None:
    def verdict_on(name: str, counts: tuple[int, ...] = COUNTS) -> Verdict:
        records = [replace(trial(number, 0.9), metrics={name: 0.9 + number / 1000}) for number in range(2)]
        return judge_best(rank_trials(records, [Objective(metric=name, mode="max")]), name, counts)

    verdict = verdict_on(metric)
    if like is None:
        assert verdict.standard_error is None
        assert "not known" in verdict.text
        return
    assert verdict.standard_error == verdict_on(like).standard_error
    assert (
        f"400 images of {metric.split('.auc')[0].split('.acc')[0].removeprefix('shifted.')} alone blur" in verdict.text
    )
    assert "400 validation images alone" in verdict_on(like).text
    assert verdict_on(metric, (100, 200, 100)).standard_error is None
    assert verdict_on(metric, (100, 0)).standard_error is None


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
    for p, corrected in zip(values, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(values) * p) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_the_interval_holds_the_true_difference_in_95_of_100_cases() -> None:
    rng, inside, cases = np.random.default_rng(1), 0, 3000
    for _ in range(cases):
        n, truth = int(rng.integers(2, 7)), float(rng.normal(0, 0.01))
        of_seed = rng.normal(0, 0.05, n)  # what both configurations share
        first, other = of_seed + truth + rng.normal(0, 0.01, n), of_seed + rng.normal(0, 0.01, n)
        mean, half_width, _ = paired_t((first - other).tolist())
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
    base, other = sorted(ranked(table([0.7, 0.8, 0.9], [0.72, 0.81, 0.93])), key=lambda each: each.point)
    mean, half_width = difference_to(base, other) or (None, None)
    assert mean == pytest.approx(0.02)
    assert half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert difference_to(base, replace(other, counted=other.counted[:1])) == (pytest.approx(0.02), None)
    assert difference_to(base, replace(other, counted=())) is None

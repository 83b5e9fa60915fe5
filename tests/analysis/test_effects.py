"""Effects of factors: what a design shows, against averages and t tests by hand, and how often intervals are wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from study.analysis.effects import estimate_against_baseline, estimate_effects, factorial_terms, one_factor_terms
from study.analysis.statistics.influence import influence
from study.analysis.verdict import Comparison, against_baseline, compare_runs
from study.analysis.verdict_by_values import compare_values
from study.config.hyperparameters import Scalar
from study.config.search_config import DesignSpec, Mode
from study.config.search_space import Choice, Parameter
from study.designs.points import DESIGNS

LEVELS: dict[str, list[Scalar]] = {"optimizer": ["sgd", "adam"], "depth": [10, 18, 34]}


def _grid(levels: dict[str, list[Scalar]]) -> list[dict[str, Scalar]]:
    return [dict(zip(levels, values, strict=True)) for values in product(*levels.values())]


def _fraction(factors: int, resolution: int, fraction: str = "regular") -> list[dict[str, Scalar]]:
    space = [Parameter(name=name, domain=Choice(values=(False, True))) for name in "abcdefghijk"[:factors]]
    design = DesignSpec(kind="factorial", resolution=resolution, fraction=fraction)  # type: ignore[arg-type]
    return list(DESIGNS["factorial"].points(design, space))


def _two_levels(factors: int) -> dict[str, list[Scalar]]:
    return {name: [False, True] for name in "abcdefghijk"[:factors]}


def _values(values: np.ndarray, mode: Mode = "max") -> Comparison:
    """Compare values [points, seeds] alone of a metric that no images blur."""
    points, seeds = values.shape
    at, seed = np.repeat(np.arange(points), seeds), np.tile(np.arange(seeds), points)
    return compare_values(values.ravel(), at, seed, "latency_ms", mode)[0]


def _observed(means: np.ndarray, seeds: int, spread: float, rng: np.random.Generator) -> Comparison:
    """Compare values alone with noise of seeds."""
    return _values(means[:, None] + spread * rng.standard_normal((len(means), seeds)))


def _accuracies(
    rates: np.ndarray, seeds: int, images: int, rng: np.random.Generator, spread: float = 0.0
) -> Comparison:
    """Return runs whose answers are right by chance, alike in part because some images are hard."""
    shift = spread * rng.standard_normal((len(rates), seeds, 1))
    hard = rng.standard_normal(images)
    noise = np.sqrt(0.5) * (hard + rng.standard_normal((len(rates), seeds, images)))
    right = noise < stats.norm.ppf(rates)[:, None, None] + shift
    labels = np.arange(images) % 2
    scores = np.where(right, labels, 1 - labels).astype(float).reshape(-1, images)
    points = np.repeat(np.arange(len(rates)), seeds)
    return compare_runs(
        "accuracy", influence("accuracy", scores, labels), points, np.tile(np.arange(seeds), len(rates))
    )


def test_main_effects_and_interactions_of_a_factorial_are_differences_of_averages() -> None:
    points = _grid(LEVELS)
    means = np.random.default_rng(0).random(len(points))
    table = dict(zip([tuple(point.values()) for point in points], means, strict=True))
    result = factorial_terms(points, LEVELS)
    assert not result.notes
    values = {(term.name, term.levels): float(term.weights @ means) for term in result.terms}
    assert values["optimizer", ("adam",)] == pytest.approx(
        np.mean([table["adam", depth] - table["sgd", depth] for depth in (10, 18, 34)])
    )
    for depth in (18, 34):
        assert values["depth", (depth,)] == pytest.approx(
            np.mean([table[name, depth] - table[name, 10] for name in ("sgd", "adam")])
        )
        assert values["optimizer x depth", ("adam", depth)] == pytest.approx(
            table["adam", depth] - table["sgd", depth] - table["adam", 10] + table["sgd", 10]
        )
    assert len(values) == 5


def test_effects_that_a_fraction_cannot_tell_apart_are_one_row() -> None:
    result = factorial_terms(_fraction(4, 4), _two_levels(4))
    assert not result.notes
    assert {term.name: term.aliases for term in result.terms} == {
        "a": (), "b": (), "c": (), "d": (), "a x b": ("c x d",), "a x c": ("b x d",), "a x d": ("b x c",),
    }  # fmt: skip
    third = factorial_terms(_fraction(3, 3), _two_levels(3))
    assert {term.name: term.aliases for term in third.terms} == {"a": ("b x c",), "b": ("a x c",), "c": ("a x b",)}


def test_after_plackett_and_burman_only_main_effects_are_shown() -> None:
    result = factorial_terms(_fraction(11, 3, "plackett_burman"), _two_levels(11))
    assert [term.name for term in result.terms] == list("abcdefghijk")
    assert "cannot tell interactions" in result.notes[0]
    assert all(np.allclose(np.abs(term.weights), 1 / 6) for term in result.terms)


def test_a_missing_point_leaves_the_effects_of_additive_means_right() -> None:
    points = _grid(LEVELS)[:-1]
    means = np.array([(point["optimizer"] == "adam") * 0.5 + (point["depth"] == 34) * 0.25 for point in points])
    result = factorial_terms(points, LEVELS)
    values = {(term.name, term.levels): float(term.weights @ means) for term in result.terms}
    assert values["optimizer", ("adam",)] == pytest.approx(0.5)
    assert values["depth", (34,)] == pytest.approx(0.25)
    assert "cannot tell interactions" in result.notes[0]


def test_a_factor_that_exists_beside_one_level_only_is_averaged_there() -> None:
    points: list[dict[str, Scalar]] = [
        {"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.0}, {"optimizer": "sgd", "momentum": 0.9},
    ]  # fmt: skip
    result = factorial_terms(points, {"optimizer": ["adam", "sgd"], "momentum": [0.0, 0.9]})
    means = np.array([0.5, 0.6, 0.8])
    assert {term.name: float(term.weights @ means) for term in result.terms} == pytest.approx(
        {"optimizer": 0.2, "momentum": 0.2}
    )


def test_a_factor_of_one_level_and_too_many_rows_are_said() -> None:
    result = factorial_terms(_grid({"optimizer": ["sgd"], "depth": [10, 18]}), LEVELS)
    assert [term.name for term in result.terms] == ["depth"]
    assert "optimizer has one level" in result.notes[0]
    wide: dict[str, list[Scalar]] = {"a": [*range(16)], "b": [*range(16)]}
    many = factorial_terms(_grid(wide), wide)
    assert len(many.terms) == 30
    assert "255 rows" in many.notes[0]


def test_by_seeds_alone_a_difference_has_the_interval_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    observed = _observed(np.array([0.8, 0.85]), 4, 0.01, rng)
    terms = factorial_terms([{"a": False}, {"a": True}], _two_levels(1)).terms
    (effect,) = estimate_effects(observed, terms)
    first, second = observed.runs.values.reshape(2, 4)
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval()
    assert (effect.contrast.low, effect.contrast.high) == pytest.approx((interval.low, interval.high), rel=0.01)
    assert effect.contrast.p == pytest.approx(test.pvalue, rel=0.05, abs=2e-4)
    assert effect.contrast.se_image < 1e-3 * effect.contrast.se_seed


def test_runs_that_never_differ_give_no_claim() -> None:
    terms = factorial_terms([{"a": False}, {"a": True}], _two_levels(1)).terms
    for seeds in (1, 3):
        (effect,) = estimate_effects(_observed(np.array([0.8, 0.9]), seeds, 0.0, np.random.default_rng(0)), terms)
        assert np.isinf([effect.contrast.low, effect.contrast.high]).all()
        assert effect.contrast.p == 1
        assert not effect.contrast.is_certain
    alike = _values(np.array([[0.8, 0.81], [0.9, 0.91]]))  # each seed moves both by the same
    assert np.isinf(estimate_effects(alike, terms)[0].contrast.high)


def test_a_loss_keeps_its_sign_and_one_seed_is_about_checkpoints() -> None:
    observed = _values(np.array([[0.5, 0.52], [0.3, 0.31]]), "min")
    terms = factorial_terms([{"a": False}, {"a": True}], _two_levels(1)).terms
    (effect,) = estimate_effects(observed, terms)
    assert effect.contrast.value == pytest.approx(-0.205)
    assert effect.contrast.low < -0.205 < effect.contrast.high
    single = _accuracies(np.array([0.7, 0.9]), 1, 500, np.random.default_rng(1))
    (certain,) = estimate_effects(single, terms)
    assert single.about == "checkpoints"
    assert certain.contrast.se_seed == 0
    assert certain.contrast.is_certain


def test_rows_of_an_ablation_are_those_of_the_verdict() -> None:
    comparison = _accuracies(np.array([0.8, 0.85, 0.7]), 3, 400, np.random.default_rng(2))
    points: list[dict[str, Scalar]] = [
        {"optimizer": "sgd", "depth": 10}, {"optimizer": "sgd", "depth": 18}, {"optimizer": "adam", "depth": 10},
    ]  # fmt: skip
    terms = one_factor_terms(points, 0).terms
    assert [(term.name, term.levels, term.references) for term in terms] == [
        ("optimizer", ("adam",), ("sgd",)), ("depth", (18,), (10,)),
    ]  # fmt: skip
    effects = estimate_against_baseline(comparison, terms, 0)
    rows = against_baseline(comparison, 0)
    assert [effect.contrast for effect in effects] == [rows[2], rows[1]]
    assert effects[0].contrast.is_certain
    assert effects[0].contrast.value == pytest.approx(comparison.runs.means[2] - comparison.runs.means[0])


def test_effects_within_what_matters_are_practically_zero() -> None:
    comparison = _accuracies(np.full(4, 0.9), 3, 3000, np.random.default_rng(5))
    effects = estimate_effects(comparison, factorial_terms(_grid(_two_levels(2)), _two_levels(2)).terms)
    assert all(effect.is_practically_zero(0.1) for effect in effects)
    assert not any(effect.is_practically_zero(0.001) for effect in effects)


@pytest.mark.parametrize(("images", "seeds"), [(None, 2), (None, 3), (300, 1), (300, 2), (300, 3)])
def test_a_factorial_without_effects_shows_a_wrong_row_in_at_most_7_percent(images: int | None, seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    levels = _two_levels(3)
    terms = factorial_terms(_grid(levels), levels).terms
    assert len(terms) == 6
    studies, wrong = 600, 0
    for _ in range(studies):
        if images is None:
            observed = _observed(np.zeros(8), seeds, 0.01, rng)
        else:
            spread = 0.1 if seeds > 1 else 0.0
            observed = _accuracies(np.full(8, 0.85), seeds, images, rng, spread)
        effects = estimate_effects(observed, terms, draws=2000)
        wrong += any(effect.contrast.low > 0 or effect.contrast.high < 0 for effect in effects)
    assert wrong / studies <= 0.07


def test_a_point_that_scatters_six_times_as_much_makes_a_wrong_row_in_at_most_7_percent() -> None:
    rng = np.random.default_rng(11)
    levels: dict[str, list[Scalar]] = {"a": [0, 1, 2], "b": [0, 1, 2]}
    terms = factorial_terms(_grid(levels), levels).terms
    spread = np.full((9, 1), 0.01)
    spread[4] *= 6
    wrong = 0
    for _ in range(400):
        effects = estimate_effects(_values(spread * rng.standard_normal((9, 3))), terms, draws=2000)
        wrong += any(effect.contrast.low > 0 or effect.contrast.high < 0 for effect in effects)
    assert wrong / 400 <= 0.07


def test_a_real_effect_is_found_and_the_others_are_not_blamed() -> None:
    rng = np.random.default_rng(7)
    levels = _two_levels(3)
    points = _grid(levels)
    terms = factorial_terms(points, levels).terms
    rates = np.array([0.9 if point["b"] else 0.84 for point in points])
    seen = blamed = 0
    for _ in range(100):
        observed = _accuracies(rates, 3, 600, rng, 0.05)
        effects = {effect.term.name: effect.contrast for effect in estimate_effects(observed, terms, draws=2000)}
        seen += effects["b"].low > 0
        blamed += any(each.low > 0 or each.high < 0 for name, each in effects.items() if name != "b")
    assert seen >= 85
    assert blamed <= 10

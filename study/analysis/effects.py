"""What each factor of a designed study does: its levels against a baseline, main effects and interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.contrast import LEVEL, Contrast
from study.analysis.statistics.own_spread import own_spread
from study.analysis.statistics.simultaneous import DRAWS, simultaneous_contrasts
from study.analysis.verdict import Comparison, against_baseline
from study.config.hyperparameters import Scalar
from study.config.search_space import same_value

Floats = NDArray[np.float64]
Point = Mapping[str, Scalar]

MOST_TERMS = 200
"""More rows than this nobody reads, so that a larger design is shown without its interactions."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Term:
    """An effect that a design shows.

    Attributes:
        factors: the factor, or the two that interact.
        levels: the level of each.
        references: the level of each that it is compared with.
        weights: [points], the linear combination of the points' means.
        aliases: the effects that these points cannot tell from it.
    """

    factors: tuple[str, ...]
    levels: tuple[Scalar, ...]
    references: tuple[Scalar, ...]
    weights: Floats = field(compare=False)
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The factor, or both with a cross."""
        return " x ".join(self.factors)


@dataclass(frozen=True)
class Effect:
    """A term and its estimate in the unit of the metric; all intervals of a table hold together."""

    term: Term
    contrast: Contrast

    def is_practically_zero(self, matters: float) -> bool:
        """Whether the interval lies inside +-``matters``."""
        return self.contrast.is_within(matters)


@dataclass(frozen=True)
class Terms:
    """What a design shows, and what to know about it, a sentence each."""

    terms: tuple[Term, ...]
    notes: tuple[str, ...] = ()


def one_factor_terms(points: Sequence[Point], baseline: int) -> Terms:
    """Return each point against the baseline, named by the factor that differs.

    Args:
        points: values of the searched parameters that exist in each.
        baseline: index of the point that the others differ from.
    """
    usual, terms = points[baseline], []
    for k, point in enumerate(points):
        changed = next((name for name in usual if name in point and not same_value(point[name], usual[name])), None)
        if k == baseline or changed is None:
            continue
        weights = np.zeros(len(points))
        weights[[k, baseline]] = 1, -1
        terms.append(Term((changed,), (point[changed],), (usual[changed],), weights))
    order = list(usual)
    return Terms(tuple(sorted(terms, key=lambda term: order.index(term.factors[0]))))


@dataclass
class _Block:
    """The columns of a main effect or an interaction in the model matrix."""

    factors: tuple[str, ...]
    columns: Floats  # [points, columns]
    levels: list[tuple[Scalar, ...]]  # of each column
    references: tuple[Scalar, ...]
    aliases: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " x ".join(self.factors)


def factorial_terms(
    points: Sequence[Point], levels: Mapping[str, Sequence[Scalar]], *, interactions: bool = True
) -> Terms:
    """Return the main effect of each level against the first level of its factor, and the interactions of two factors.

    A main effect is the difference of averages over the levels of the other factors; the weights are those of least
    squares with effects that add up to 0, which is the same where no point is missing. The interaction of two factors
    is how much the difference between levels of one changes with the level of the other. Effects that the points
    cannot tell apart are one term.

    Args:
        points: values of the parameters that exist in each.
        levels: of each factor in order, the reference first.
        interactions: whether to return interactions too.

    Source: Box, Hunter & Hunter 2005, chapters 5 and 6.
    """
    notes: list[str] = []
    mains = [block for name, values in levels.items() if (block := _main_effect(points, name, values)) is not None]
    notes += [
        f"{name} has one level in the points that ended, so nothing is known of it"
        for name in levels
        if name not in {block.name for block in mains}
    ]
    both = _interactions(mains) if interactions else []
    rows = sum(block.columns.shape[1] for block in (*mains, *both))
    if rows > MOST_TERMS:
        both = []
        notes.append(f"interactions are left out, as with them there would be {rows} rows")
    if both and not _is_estimable(np.hstack([block.columns for block in (*mains, *both)])):
        both = []
        for block in mains:
            block.aliases.clear()
        notes.append(
            "these points cannot tell interactions of two factors from one another or from main effects, so main "
            "effects are estimated as if there were none"
        )
    return Terms(tuple(_solved([*mains, *both], len(points), notes)), tuple(notes))


def _main_effect(points: Sequence[Point], name: str, values: Sequence[Scalar]) -> _Block | None:
    present = [value for value in values if any(name in point and same_value(point[name], value) for point in points)]
    if len(present) < 2:
        return None
    columns = np.zeros((len(points), len(present) - 1))
    for row, point in zip(columns, points, strict=True):
        if name in point and any(same_value(point[name], value) for value in present):
            at = next(k for k, value in enumerate(present) if same_value(point[name], value))
            row[:] = -1.0 if at == 0 else np.arange(1, len(present)) == at
    return _Block((name,), columns, [(value,) for value in present[1:]], (present[0],))


def _interactions(mains: Sequence[_Block]) -> list[_Block]:
    """Return the interactions of two factors; one that is the same as another effect becomes its alias."""
    results: list[_Block] = []
    for first, second in combinations(mains, 2):
        columns = first.columns[:, :, None] * second.columns[:, None, :]  # [points, first, second]
        block = _Block(
            first.factors + second.factors, columns.reshape(len(columns), -1),
            [a + b for a, b in product(first.levels, second.levels)], first.references + second.references,
        )  # fmt: skip
        same = next((each for each in (*mains, *results) if _are_same(each.columns, block.columns)), None)
        nested = not block.columns.any() or (same is not None and same.name in block.factors)
        if nested:  # one factor exists beside one level of the other only
            continue
        if same is None:
            results.append(block)
        else:
            same.aliases.append(block.name)
    return results


def _are_same(first: Floats, second: Floats) -> bool:
    """Whether two single columns are equal but for their sign."""
    return first.shape[1] == second.shape[1] == 1 and (np.array_equal(first, second) or np.array_equal(first, -second))


def _is_estimable(columns: Floats) -> bool:
    matrix = np.column_stack([np.ones(len(columns)), columns])
    return bool(np.linalg.matrix_rank(matrix) == matrix.shape[1])


def _solved(blocks: Sequence[_Block], points: int, notes: list[str]) -> list[Term]:
    """Return the terms of the model that least squares can estimate; the others are named in ``notes``."""
    if not blocks:
        return []
    matrix = np.column_stack([np.ones(points), *(block.columns for block in blocks)])
    inverse = np.linalg.pinv(matrix)  # [coefficients, points]
    terms, at = [], 1
    for block in blocks:
        width = block.columns.shape[1]
        sizes = [width] if len(block.factors) == 1 else _sizes(block)
        for k, levels in enumerate(block.levels):
            contrast = np.zeros(matrix.shape[1])
            contrast[at : at + width] = _against_reference(k, sizes)
            weights = contrast @ inverse
            if np.abs(weights @ matrix - contrast).max() > _ROUNDING * np.abs(contrast).max():
                notes.append(f"{block.name} at {_listed(levels)} cannot be told from other effects by these points")
                continue
            weights[np.abs(weights) < _ROUNDING] = 0
            terms.append(Term(block.factors, levels, block.references, weights, tuple(block.aliases)))
        at += width
    return terms


def _sizes(block: _Block) -> list[int]:
    """Return the number of columns of each of two factors."""
    second = len({levels[1:] for levels in block.levels}) if block.levels else 1
    return [len(block.levels) // second, second]


def _against_reference(column: int, sizes: Sequence[int]) -> Floats:
    """Return what coefficients to add up for a level less the reference, which is minus the sum of all.

    For two factors it is the difference of such differences.
    """
    result: Floats = np.ones(1)
    for size, at in zip(sizes, np.unravel_index(column, tuple(sizes)), strict=True):
        single = np.ones(size)
        single[at] = 2
        result = np.outer(result, single).ravel()
    return result


def _listed(levels: Sequence[Scalar]) -> str:
    return ", ".join(map(str, levels))


def estimate_effects(
    comparison: Comparison, terms: Sequence[Term], draws: int = DRAWS, level: float = LEVEL
) -> tuple[Effect, ...]:
    """Estimate the terms of a factorial; intervals hold together, and p values allow for the number of terms.

    An average over points has the variance between seeds of each of them, however differently they scatter.
    """
    if not terms:
        return ()
    spread = None if comparison.about == "checkpoints" else own_spread(comparison.runs)
    weights = np.array([term.weights for term in terms])
    contrasts = simultaneous_contrasts(comparison.plain_model, weights, spread, level, draws)
    results = []
    for term, each in zip(terms, contrasts, strict=True):
        widest = float(comparison.span * np.abs(term.weights).sum() / 2)  # no wider than the metric can differ
        low, high, value = max(each.low, -widest), min(each.high, widest), each.value
        if comparison.mode == -1:
            low, high, value = -high, -low, -value
        results.append(Effect(term, replace(each, value=value, low=low, high=high)))
    return tuple(results)


def estimate_against_baseline(
    comparison: Comparison, terms: Sequence[Term], baseline: int, draws: int = DRAWS, level: float = LEVEL
) -> tuple[Effect, ...]:
    """Estimate the terms of a one-factor design, as ``against_baseline`` does."""
    rows = against_baseline(comparison, baseline, draws, level)
    return tuple(Effect(term, rows[int(term.weights.argmax())]) for term in terms)

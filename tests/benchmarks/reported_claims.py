"""Answer what reports of others claimed from few images, with the verdict of this program.

    .venv/bin/python tests/benchmarks/reported_claims.py --out results/reference/reported_claims.md

Only totals were reported, so each claim is answered for every pairing of the errors that the totals allow: all images
that the better one got wrong were wrong in the other too, or none was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest

from study.analysis.power import components_of, images_needed
from study.analysis.statistics.influence import influence
from study.analysis.statistics.intervals import value_interval
from study.analysis.verdict import Comparison, compare_runs, judge
from study.files import write_text_atomic

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a claim of two figures comes to, for each pairing of the errors.

    Attributes:
        claim: as reported.
        verdicts: "yes" or "undecided".
        exact_p: of the exact test of McNemar; of an AUC that of the contrast.
        lows, highs: ends of the interval of the difference.
        needed: images that show the difference with a power of 0.8.
    """

    claim: str
    verdicts: tuple[str, ...]
    exact_p: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    needed: tuple[int | None, ...]


def compare_once(scores: Floats, labels: NDArray[np.int64], metric: str) -> Comparison:
    """Compare configurations that ran once; scores [configurations, images]."""
    each = np.arange(len(scores))
    return compare_runs(metric, influence(metric, scores, labels), each, np.zeros_like(each))


def fractions(claim: str, images: int, fewer: int, more: int) -> Answer:
    """Answer a claim of two fractions of the same images by how many each got wrong."""
    labels = np.arange(images) % 2
    comparisons, exact = [], []
    for shared in sorted({fewer, min(fewer, 1), 0}, reverse=True):
        scores = np.tile(labels.astype(float), (2, 1))
        for row, wrong in zip(scores, (range(fewer), range(fewer - shared, fewer - shared + more)), strict=True):
            at = list(wrong)
            row[at] = 1 - row[at]
        comparisons.append(compare_once(scores, labels, "accuracy"))
        exact.append(float(binomtest(fewer - shared, fewer + more - 2 * shared, 0.5).pvalue))
    return _answer(claim, comparisons, (more - fewer) / images, exact)


def aucs(images: int, better: float, worse: float, correlations: Sequence[float] = (0.0, 0.3, 0.6)) -> Answer:
    """Answer a claim of two AUCs: scores are normal, moved apart until their AUCs are as reported."""
    labels = np.arange(images) % 2
    comparisons = []
    for correlation in correlations:
        rng = np.random.default_rng(15)
        noise = np.sqrt(correlation) * rng.standard_normal(images)
        noise = noise + np.sqrt(1 - correlation) * rng.standard_normal((2, images))

        def excess(apart: float, row: Floats, auc: float) -> float:
            return float(influence("auc", (row + apart * labels)[None], labels).values[0]) - auc

        apart = [brentq(excess, 0, 20, (row, auc)) for row, auc in zip(noise, (better, worse), strict=True)]
        comparisons.append(compare_once(noise + np.array(apart)[:, None] * labels, labels, "auc"))
    return _answer(f"AUC {better} against {worse} on {images:,} images", comparisons, better - worse)


def _answer(
    claim: str, comparisons: Sequence[Comparison], difference: float, exact: Sequence[float] | None = None
) -> Answer:
    judgements = [judge(each) for each in comparisons]
    leads = [each.differences[0] for each in judgements]
    return Answer(
        claim, tuple(each.verdict for each in judgements), tuple(exact or [each.p for each in leads]),
        tuple(each.low for each in leads), tuple(each.high for each in leads),
        tuple(images_needed(components_of(each, 0, 1), difference, 1) for each in comparisons),
    )  # fmt: skip


def single(images: int, right: int) -> tuple[float, float]:
    """Return the interval of one fraction."""
    value = right / images
    error = float(np.sqrt(value * (1 - value) / images))
    return value_interval(value, value, 1.96 * error, error, images)


def answers() -> list[Answer]:
    """Return the answers to all claims of two figures."""
    return [
        fractions("99.94 against 99.87 % of 3,245 images", 3245, 2, 4),
        fractions("95.2 against 80.9 % of 21 photos", 21, 1, 4),
        fractions("100 against 67 % of 6 photos", 6, 0, 2),
        aucs(3245, 0.99965, 0.99936),
    ]


def table(listed: Sequence[Answer]) -> str:
    """Return the answers as Markdown."""
    lines = [
        "# What reports claimed from few images",
        "",
        "From `tests/benchmarks/reported_claims.py`. Ranges: for all pairings of the errors, which were not reported.",
        "",
        "| claim | does the first win? | exact p | 95 % of the difference | images needed, power 0.8 |",
        "|---|---|---|---|---|",
    ]
    for each in listed:
        needed = sorted(many for many in each.needed if many is not None)
        images = f"{_rounded(needed[0]):,} to {_rounded(needed[-1]):,}" if needed else "none suffices"
        lines.append(
            f"| {each.claim} | {', '.join(sorted(set(each.verdicts)))} | {min(each.exact_p):.2f} to "
            f"{max(each.exact_p):.2f} | {min(each.lows):+.4f} to {max(each.highs):+.4f} | {images} |"
        )
    low, high = single(10, 7)
    return "\n".join([*lines, "", f"70 % of 10 photos: {low:.0%} to {high:.0%}, the exact interval."]) + "\n"


def _rounded(count: int) -> int:
    digits = max(0, len(str(count)) - 3)
    return round(count, -digits) if digits else count


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    text = table(answers())
    write_text_atomic(options.out, text)
    print(text)


if __name__ == "__main__":
    main()

"""Simulates studies whose truth is known, and counts how often the verdict and each interval are wrong.

``make honesty`` runs every cell and writes ``results/reference/honesty.json`` and ``.md``. Scores are normal: the
image's difficulty, which all runs share, that of the configuration, and that of the run; seeds move how well a run
separates the classes.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, ndtr

from study.analysis.statistics.influence import influence
from study.analysis.verdict import Comparison, against_baseline, compare_runs, judge

Floats = NDArray[np.float64]

DRAWS = 1_000
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Cell:
    """One kind of study.

    Attributes:
        metric: auc, accuracy, f1 or recall.
        configurations, seeds, images: its size.
        correlation: of the scores of two runs on the same image and class.
        own: the part of what is left that belongs to the configuration and not to the run.
        value: the true metric of a configuration.
        seed_sd: standard deviation of the true metric between seeds.
        wide: how many times larger that is for the first configuration.
        lead: by how many standard errors of a difference the best leads; ``graded`` spreads all evenly over so many.
        graded: see ``lead``.
        bad: how many of the others are far behind.
    """

    metric: str
    configurations: int
    seeds: int
    images: int
    correlation: float = 0.6
    own: float = 0.3
    value: float = 0.9
    seed_sd: float = 0.005
    wide: float = 1.0
    lead: float = 0.0
    graded: bool = False
    bad: int = 0

    @property
    def name(self) -> str:
        """The name of the cell: what differs from the usual."""
        usual = Cell(self.metric, self.configurations, self.seeds, self.images)
        more = [f"{key}={value:g}" for key, value in list(asdict(self).items())[4:] if value != getattr(usual, key)]
        return " ".join([self.metric, f"k={self.configurations}", f"r={self.seeds}", f"n={self.images}", *more])


def true_metric(metric: str, separation: Floats | float) -> Floats:
    """Return the metric of scores that are normal around half the separation, with equal classes."""
    half = np.asarray(separation) / 2
    if metric == "auc":
        return np.asarray(ndtr(half * np.sqrt(2)))
    hit = ndtr(half)
    if metric == "f1":
        return np.asarray(2 * hit / (hit + (1 - hit) + 1))
    return np.asarray(hit)


def _separations(metric: str, values: Floats, sd: float, wide: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the separation that give these mean metrics over seeds."""
    scale = 1e-4
    means, sds = np.empty(len(values)), np.empty(len(values))
    for k, value in enumerate(values):
        centre = _root(metric, float(value), 0.0)
        slope = (true_metric(metric, centre + scale) - true_metric(metric, centre - scale)) / (2 * scale)
        sds[k] = sd * wide[k] / float(slope)
        means[k] = _root(metric, float(value), round(float(sds[k]), 12))
    return means, sds


@functools.lru_cache(maxsize=10_000)
def _root(metric: str, value: float, sd: float) -> float:
    return float(brentq(lambda at: float(true_metric(metric, at + sd * _NODES) @ _WEIGHTS) - value, -2, 20, xtol=1e-12))


@dataclass(frozen=True)
class Sample:
    """One simulated study: scores [configurations, seeds, images] around 0.5, labels [images], and the truth.

    ``true`` [configurations] are the mean metrics over seeds, with one seed those of the runs themselves.
    """

    scores: Floats
    labels: NDArray[np.int64]
    true: Floats


def truth(cell: Cell, error: float) -> Floats:
    """Return [configurations], the true mean metrics; ``error`` is the standard error of a difference."""
    values = np.full(cell.configurations, cell.value)
    if cell.graded:
        values -= np.linspace(0, cell.lead, cell.configurations) * error
    elif cell.lead:
        values[1:] -= cell.lead * error
    if cell.bad:
        values[-cell.bad :] -= 20 * error
    return values


def draw(cell: Cell, values: Floats, rng: np.random.Generator) -> Sample:
    """Draw one study."""
    k, r, n = cell.configurations, cell.seeds, cell.images
    wide = np.ones(k)
    wide[0] = cell.wide
    means, sds = _separations(cell.metric, values, cell.seed_sd, wide)
    separation = means[:, None] + sds[:, None] * rng.standard_normal((k, r))
    labels = np.arange(n) % 2
    left = 1 - cell.correlation
    scores = rng.standard_normal((k, r, n), np.float32)  # single precision is twice as quick
    scores *= np.float32(np.sqrt(left * (1 - cell.own)))
    shared = rng.standard_normal((k, 1, n), np.float32) * np.float32(np.sqrt(left * cell.own))
    shared += rng.standard_normal(n, np.float32) * np.float32(np.sqrt(cell.correlation))
    scores += shared
    scores += (separation[:, :, None] * (labels - 0.5) + 0.5).astype(np.float32)
    true = values if r > 1 else true_metric(cell.metric, separation[:, 0])
    return Sample(scores, labels, true)


def simulate(cell: Cell, studies: int, seed: int = 0, joint: int | None = None) -> dict[str, float]:
    """Return how often the answers were right.

    Args:
        cell: the kind of study.
        studies: how many to simulate.
        seed: of the simulation.
        joint: in how many of them to look at more than the winner; default: all.
    """
    error = _difference_error(cell) if cell.lead or cell.bad else 0.0
    values = truth(cell, error)
    verdicts: list[tuple[bool, bool, bool]] = []
    answers: list[dict[str, Any]] = []
    joint = studies if joint is None else min(joint, studies)
    for study in range(studies):
        sample = draw(cell, values, np.random.default_rng([seed, study]))
        k, r, n = sample.scores.shape
        measured = influence(cell.metric, sample.scores.reshape(k * r, n), sample.labels)
        comparison = compare_runs(cell.metric, measured, np.repeat(np.arange(k), r), np.tile(np.arange(r), k))
        best = np.flatnonzero(sample.true >= sample.true.max() - 1e-12)
        leader, others = comparison.order[0], comparison.order[1:]
        yes = k > 1 and all(each.is_certain for each in comparison.to_others(leader, others))
        verdicts.append((yes, yes and (len(best) > 1 or leader != best[0]), comparison.about == "configurations"))
        if study < joint:
            answers.append(_answers(comparison, sample.true, best))
    errors = np.mean([each.pop("squared_errors") for each in answers], axis=0)  # [configurations]
    deviation = float(np.sqrt(np.mean([errors[int(each.pop("leader"))] for each in answers])))
    means = {key: float(np.mean([each[key] for each in answers])) for key in answers[0]}
    return {
        "studies": studies,
        **dict(zip(("yes", "false_winner", "about_configurations"), np.mean(verdicts, axis=0).tolist(), strict=True)),
        "joint_studies": joint,
        **means,
        "winner_bias_in_se": means["winner_bias_in_se"] / deviation,
        "raw_winner_bias_in_se": means["raw_winner_bias_in_se"] / deviation,
    }


def _answers(comparison: Comparison, true: Floats, best: NDArray[np.int64]) -> dict[str, Any]:
    """Return what is right of one study's answers, as fractions."""
    judgement = judge(comparison, DRAWS)
    differences = [
        each.low <= true[judgement.leader] - true[other] <= each.high
        for other, each in zip(judgement.others, judgement.differences, strict=True)
    ]
    above, as_good = (true[:, None] < true).sum(axis=1), (true[:, None] <= true).sum(axis=1)
    rows = against_baseline(comparison, 0, DRAWS) if len(true) > 1 else []
    errors = comparison.runs.means - true
    return {
        "difference_coverage": float(np.mean(differences)) if differences else 1.0,
        "any_wrong_baseline_row": any(
            not each.low <= value - true[0] <= each.high for each, value in zip(rows, true, strict=False)
        ),
        "single_coverage": float(
            np.mean([each.low <= value <= each.high for value, each in zip(true, judgement.standings, strict=True)])
        ),
        "best_in_tie_set": any(each in judgement.may_be_best for each in best),
        "tie_set_size": len(judgement.may_be_best),
        "rank_coverage": all(
            each.rank_low <= last and each.rank_high > first
            for each, first, last in zip(judgement.standings, above, as_good, strict=True)
        ),
        "winner_coverage": judgement.winner.low <= true[judgement.leader] <= judgement.winner.high,
        "winner_bias_in_se": judgement.winner.corrected - float(true[judgement.leader]),
        "raw_winner_bias_in_se": judgement.winner.raw - float(true[judgement.leader]),
        "leader": judgement.leader,
        "squared_errors": errors**2,
    }


@functools.lru_cache(maxsize=1000)
def _difference_error(cell: Cell) -> float:
    """Return the standard error of the difference between the best mean and one as far behind as the lead is."""
    pair = replace(cell, configurations=2, graded=False, bad=0, wide=1.0)
    error = 0.0
    for _ in range(3):  # what is behind has a larger error
        values, variances = truth(pair, error), []
        for study in range(200):
            sample = draw(pair, values, np.random.default_rng([99, study]))
            units = influence(pair.metric, sample.scores.reshape(2 * pair.seeds, -1), sample.labels).units
            variances.append(((units[: pair.seeds].mean(axis=0) - units[pair.seeds :].mean(axis=0)) ** 2).sum())
        error = float(np.sqrt(np.mean(variances) + 2 * pair.seed_sd**2 / pair.seeds))
    return error


METRICS = ("auc", "accuracy", "f1", "recall")


def null_cells() -> Iterator[Cell]:
    """Yield cells where no configuration is better: what a winner is called in is wrong."""
    for k in (2, 5, 20):
        for r in (1, 2, 3, 5):
            for n in (200, 1000, 3000):
                for correlation in (0.1, 0.6, 0.9):
                    for metric in METRICS:
                        sd = 0.0 if r == 1 else 0.005
                        value = 0.9 if metric == "auc" else 0.85
                        yield Cell(metric, k, r, n, correlation, value=value, seed_sd=sd)


def harder_null_cells() -> Iterator[Cell]:
    """Yield null cells with one configuration of six-fold spread, and some that err on images of their own."""
    for k in (2, 3, 5, 20):
        for r in (2, 3, 5):
            for metric in ("auc", "accuracy"):
                for sd in (0.005, 0.008):
                    yield Cell(metric, k, r, 1000, wide=6.0, seed_sd=sd)
                yield Cell(metric, k, r, 1000, 0.1, 0.9)
                yield Cell(metric, k, r, 1000, 0.6, 0.9, seed_sd=0.02)


def single_cells() -> Iterator[Cell]:
    """Yield single configurations with AUCs near 1."""
    for n in (200, 1000, 3000):
        for value in (0.9, 0.99, 0.999, 0.9995):
            for r in (1, 3):
                yield Cell("auc", 1, r, n, value=value, seed_sd=0.0 if r == 1 else (1 - value) * 0.05)


def true_cells() -> Iterator[Cell]:
    """Yield cells where some are better: a leader, or all spread evenly."""
    for metric in METRICS:
        for k, r in ((5, 1), (20, 1), (5, 3), (20, 3)):
            for spread in (1.0, 3.0, 6.0):
                yield Cell(metric, k, r, 1000, lead=spread, graded=True, seed_sd=0.0 if r == 1 else 0.005)
    for metric in ("auc", "accuracy"):
        for sd in (0.0, 0.005, 0.012):
            for n in (1000, 3000):
                yield Cell(metric, 8, 3, n, lead=4.0, seed_sd=sd)
                yield Cell(metric, 20, 3, n, lead=3.0, bad=15, seed_sd=sd)


def one_seed_cells() -> Iterator[Cell]:
    """Yield configurations that are equal, but ran once each with noise between seeds."""
    for metric in METRICS:
        for k in (2, 5, 20):
            yield Cell(metric, k, 1, 3000, value=0.9 if metric == "auc" else 0.85)


_PREFACE = """# How often the verdict is wrong

From `make honesty` (`tests/benchmarks/honesty.py`), on simulated studies. A cell is a metric, configurations (k), seeds
(r), images (n) and what differs from the usual: correlation of scores 0.6, standard deviation of the metric between
seeds 0.005. In brackets: in how many more than the winner was looked at. With `lead=4` or `bad=15`, `yes` is the power.
The first configuration's seeds spread `wide` times as much.

A rate that is counted in few studies passes its bound by chance: in 1,000 studies a true 0.060 is counted as more than
0.065 in a quarter of cells. The last column has the cells that would be counted so far beyond the bound in less than 1
of 1,000 simulations if their true rate were at the bound. Constants of the verdict were chosen on other streams of
random numbers than these (`--seed`)."""


@dataclass(frozen=True)
class Promise:
    """A bound that every cell keeps.

    Attributes:
        key: of the row.
        bound: of the rate.
        is_most: whether it is an upper bound.
        counted: which column has the number of studies.
        only: what the cell's name contains.
    """

    key: str
    bound: float
    is_most: bool
    counted: str = "joint_studies"
    only: str = ""

    def worst(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the row that is nearest to the wrong side."""
        return (max if self.is_most else min)(rows, key=lambda row: float(row[self.key]))

    def is_missed(self, row: dict[str, Any]) -> bool:
        """Whether the rate is on the wrong side of the bound."""
        return float(row[self.key]) > self.bound if self.is_most else float(row[self.key]) < self.bound

    def is_missed_surely(self, row: dict[str, Any]) -> bool:
        """Whether it would be so far on the wrong side by chance in less than 1 of 1,000 simulations."""
        studies = int(row[self.counted])
        bound, rate = self.bound, float(row[self.key])
        if not self.is_most:
            bound, rate = 1 - bound, 1 - rate
        return self.is_missed(row) and float(bdtrc(max(round(rate * studies) - 1, 0), studies, bound)) < 1e-3


PROMISES = (
    Promise("false_winner", 0.065, True, "studies"),
    Promise("difference_coverage", 0.93, False),
    Promise("any_wrong_baseline_row", 0.07, True),
    Promise("single_coverage", 0.93, False),
    Promise("best_in_tie_set", 0.95, False),
    Promise("winner_coverage", 0.93, False),
    Promise("yes", 0.85, False, "studies", "lead=4"),
    Promise("yes", 0.45, False, "studies", "bad=15"),
)


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table of the promises and the worst cell of each."""
    lines = [
        "| promised | cells | worst | which | beyond the bound | surely |",
        "|---|---|---|---|---|---|",
    ]
    for promise in PROMISES:
        chosen = [row for row in rows if promise.only in row["cell"]]
        if not chosen:
            continue
        worst = promise.worst(chosen)
        name = promise.key.replace("_", " ") + (f", {promise.only}" if promise.only else "")
        sign, missed = "<=" if promise.is_most else ">=", [row for row in chosen if promise.is_missed(row)]
        lines.append(
            f"| {name} {sign} {promise.bound} | {len(chosen)} | {worst[promise.key]:.3f} | {worst['cell']} "
            f"| {len(missed)} | {sum(map(promise.is_missed_surely, missed))} |"
        )
    biases = sorted(rows, key=lambda row: abs(row["winner_bias_in_se"]))
    missed = [row for row in rows if abs(row["winner_bias_in_se"]) > 0.2]
    surely = [row for row in missed if abs(row["winner_bias_in_se"]) > 0.2 + 3.3 / row["joint_studies"] ** 0.5]
    lines.append(
        f"| winner bias in se within 0.2 | {len(rows)} | {biases[-1]['winner_bias_in_se']:.3f} | {biases[-1]['cell']} "
        f"| {len(missed)} | {len(surely)} |"
    )
    return lines


GRIDS = {
    "null": null_cells, "harder": harder_null_cells, "single": single_cells, "true": true_cells, "once": one_seed_cells,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="studies a cell")
    parser.add_argument("--joint", type=int, default=None, help="in how many to look at more than the winner")
    parser.add_argument("--sizes", nargs="+", type=int, default=None, help="only these numbers of configurations")
    parser.add_argument("--seeds", nargs="+", type=int, default=None, help="only these numbers of seeds")
    parser.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--only", default="", help="run only cells whose names contain this")
    parser.add_argument("--add", action="store_true", help="keep cells of the table that is there with as many studies")
    parser.add_argument("--seed", type=int, default=2026, help="of the stream of random numbers")
    parser.add_argument("--out", type=Path, default=Path("results/reference"))
    options = parser.parse_args(arguments)
    kept = options.out / "honesty.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text("utf-8")) if options.add and kept.exists() else []
    for grid in options.grids:
        for cell in GRIDS[grid]():
            known = [row for row in rows if (row["grid"], row["cell"]) == (grid, cell.name)]
            joint = options.studies if options.joint is None else min(options.studies, options.joint)
            if (
                any((row["studies"], row["joint_studies"]) >= (options.studies, joint) for row in known)
                or options.only not in cell.name
                or (options.sizes and cell.configurations not in options.sizes)
                or (options.seeds and cell.seeds not in options.seeds)
            ):
                continue
            began = time.perf_counter()
            result = simulate(cell, options.studies, options.seed, options.joint)
            rows = [row for row in rows if row not in known]
            rows.append({"grid": grid, "cell": cell.name, **asdict(cell), "stream": options.seed, **result})
            print(f"{grid:7s} {cell.name:48s} {time.perf_counter() - began:5.0f}s  " + _short(result), flush=True)
            write(options.out, rows)


def _short(result: dict[str, float]) -> str:
    keys = {"yes": "yes", "wrong": "false_winner", "diff": "difference_coverage", "base": "any_wrong_baseline_row",
            "single": "single_coverage", "set": "best_in_tie_set", "size": "tie_set_size", "rank": "rank_coverage",
            "win": "winner_coverage", "bias": "winner_bias_in_se"}  # fmt: skip
    return " ".join(f"{short} {result[key]:.3f}" for short, key in keys.items())


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the tables as JSON and Markdown, in the order of the grids."""
    places = {(grid, cell.name): k for k, (grid, cell) in enumerate((g, c) for g in GRIDS for c in GRIDS[g]())}
    rows = sorted(rows, key=lambda row: places[row["grid"], row["cell"]])
    folder.mkdir(parents=True, exist_ok=True)
    table = ",\n".join(json.dumps(row) for row in rows)
    (folder / "honesty.json").write_text(f"[\n{table}\n]\n", encoding="utf-8")
    keys = (
        "yes", "false_winner", "difference_coverage", "any_wrong_baseline_row", "single_coverage", "best_in_tie_set",
        "rank_coverage", "winner_coverage", "winner_bias_in_se", "raw_winner_bias_in_se",
    )  # fmt: skip
    lines = [_PREFACE, "", *summary(rows), ""]
    lines += [
        "| cell | studies | " + " | ".join(key.replace("_", " ") for key in keys) + " |",
        "|---" * (len(keys) + 2) + "|",
    ]
    lines += [
        f"| {row['cell']} | {row['studies']} ({row['joint_studies']}) | "
        + " | ".join(f"{float(str(row[key])):.3f}" for key in keys)
        + " |"
        for row in rows
    ]
    (folder / "honesty.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

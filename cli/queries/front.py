"""Which trials or configurations may be on the Pareto front, by the predictions that trials stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli.queries.ranking import Ranking
from cli.queries.stored_predictions import (
    NoPredictionsError,
    candidates_of,
    comparable_trials,
    compare_stored,
    describe_aside,
)
from study.metric_catalog import is_of_images
from study.records import TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.analysis.verdict import Comparison


@dataclass(frozen=True)
class FrontVerdict:
    """Which may be on the front.

    Attributes:
        may_be: points or trial numbers of those that may be on the front, those that are as measured included.
        on_front: of those that are on it as measured.
        candidates: how many there are.
        unknown: the noisy objectives whose error is not known, so that nobody is surely worse by them.
        is_blurred: whether any objective is noisy.
        aside: what else to know, as the end of a sentence.
    """

    may_be: tuple[int, ...]
    on_front: tuple[int, ...]
    candidates: int
    unknown: tuple[str, ...]
    is_blurred: bool = True
    aside: str = ""

    @property
    def others(self) -> tuple[int, ...]:
        """Those that may be on the front though they are not as measured."""
        return tuple(key for key in self.may_be if key not in self.on_front)

    @property
    def text(self) -> str:
        """The verdict in words."""
        return self._verdict + self.aside

    @property
    def _verdict(self) -> str:
        are = "is" if len(self.on_front) == 1 else "are"
        as_measured = f"{len(self.on_front)} of {self.candidates:,} {are} on the front as measured"
        if not self.is_blurred:
            return f"{as_measured}; no objective depends on images or seeds"
        if self.unknown:
            known = " and ".join(self.unknown)
            return f"not known: {as_measured}; how much images and seeds blur {known} is not known"
        if self.others:
            return f"undecided: {as_measured}, and {len(self.others)} more may be on it"
        return f"{as_measured}, and every other is surely worse than another one in all objectives that are blurred"


def judge_front(ranking: Ranking, results: Path | None) -> FrontVerdict:
    """Say which may be on the front of a ranking by several objectives.

    Metrics of images are blurred by images and seeds; all other objectives, such as ``parameters`` and ``latency_ms``,
    are taken as measured.

    Args:
        ranking: by several objectives.
        results: the folder of all studies; None for a server's study.
    """
    import numpy as np

    from study.analysis.pareto import may_be_on_front
    from study.analysis.statistics.contrast import look_level

    candidates = candidates_of(ranking)
    behind, exact, unknown = [], [], []
    for objective in ranking.objective_list:
        values = np.array([_mean(trials, objective.metric) for trials in candidates.trials])
        if not is_of_images(objective.metric):
            exact.append(values if objective.mode == "min" else -values)
            continue
        try:
            alone = replace(ranking, metric=objective.metric, mode=objective.mode)
            behind.append(_surely_behind(compare_stored(alone, results, candidates.trials), look_level(ranking.look)))
        except NoPredictionsError:
            unknown.append(objective.metric)
            behind.append(np.zeros((len(values), len(values)), np.bool_))
    may_be = may_be_on_front(behind, np.array(exact).reshape(len(exact), len(candidates.keys)))
    on_front = _first_ranks(ranking)
    chosen = (key for key, is_possible in zip(candidates.keys, may_be, strict=True) if is_possible or key in on_front)
    aside, _ = describe_aside(ranking)
    return FrontVerdict(
        tuple(chosen), on_front, len(comparable_trials(ranking)[1]), tuple(unknown), bool(behind), aside
    )


def _mean(trials: tuple[TrialRecord, ...], metric: str) -> float:
    return sum(trial.metrics[metric] for trial in trials) / len(trials)


def _first_ranks(ranking: Ranking) -> tuple[int, ...]:
    if ranking.configurations:
        return tuple(each.point for each in ranking.configurations if each.rank == 1)
    return tuple(row.record.trial for row in ranking.rows if row.rank == 1)


def _surely_behind(comparison: Comparison, level: float) -> NDArray[np.bool_]:
    from study.analysis.statistics.simultaneous import joint_errors, surely_behind

    return surely_behind(comparison.runs.means, joint_errors(comparison.strict_model, level=level))

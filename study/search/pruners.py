"""The pruners that a study file may name: which trials are stopped early.

A pruner decides from the reported values alone, and the storage keeps its decision. Optuna's own pruners mark trials in
the storage while they decide: a driver killed in between would decide otherwise afterwards.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable
from statistics import fmean

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.best_epoch import is_better
from study.config.search_space import Constant, Integer, Uniform
from study.config.study_config import StudySpec
from study.trials.listener import TrialListener
from study.trials.serialization import replicate_of

FEWEST_PAIRS = 2
LATEST_FIRST_AGE = 4
WHOLE_TRIALS_FIRST = 5
"""How many trials must have ended before others are compared with them."""


class Pruner(TrialListener):
    """Lets every trial run to its end; the base class of the others.

    Override ``stops`` to end a running trial, or ``settles`` to begin no further replicate of its configuration. Where
    a decision depends on other trials, ``depends_on_others`` must be true for that epoch: the decision is then stored,
    so that a resumed study does not decide again with what was reported since.
    """

    def depends_on_others(self, epoch: int) -> bool:
        """Whether what is decided at this epoch depends on what other trials reported so far."""
        return False

    def stops(self, trial: FrozenTrial) -> bool:
        """Whether the trial must stop at the epoch it reported last."""
        return False

    def settles(self, trial: FrozenTrial, value: float) -> bool:
        """Whether no further replicate of its point is begun after this one, about to be told with a value."""
        return False


class SortedReports:
    """The values of trials, in order, each trial having one; a report costs O(log n) comparisons.

    What is no number is left out.
    """

    def __init__(self) -> None:
        self._values: list[float] = []
        self._of: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._values)

    def best(self, count: int, *, largest: bool) -> float:
        """Return the worst of the best ``count`` values."""
        return self._values[-count] if largest else self._values[count - 1]

    def put(self, trial: int, value: float) -> None:
        """Set a trial's value, replacing an earlier one."""
        if (before := self._of.pop(trial, None)) is not None:
            del self._values[bisect_left(self._values, before)]
        if not math.isnan(value):
            self._of[trial] = value
            insort(self._values, value)

    def percentile(self, percent: float) -> float:
        """Return a percentile, interpolated between the two values next to it as numpy does."""
        at = (len(self._values) - 1) * percent / 100.0
        below = math.floor(at)
        above = min(below + 1, len(self._values) - 1)
        return self._values[below] + (self._values[above] - self._values[below]) * (at - below)


class AsynchronousHalving(Pruner):
    """ASHA (Li et al. 2020): of all trials that reached a rung, the best 1/reduction_factor go on.

    Rungs are the epochs min_epochs * reduction_factor ** k. It decides as Optuna's SuccessiveHalvingPruner does.
    """

    def __init__(self, min_epochs: int, reduction_factor: int, *, largest: bool) -> None:
        self._min_epochs = min_epochs
        self._factor = reduction_factor
        self._largest = largest
        self._rungs: dict[tuple[int, int], SortedReports] = {}

    def on_report(self, trial: FrozenTrial, epoch: int) -> None:
        """Add the value to its rung."""
        bracket = self.bracket_of(trial)
        if self._is_rung(epoch, bracket):
            rung = self._rungs.setdefault((bracket, epoch), SortedReports())
            rung.put(trial.number, trial.intermediate_values[epoch])

    def depends_on_others(self, epoch: int) -> bool:
        """Whether some trial may stop there."""
        return self._is_rung(epoch, 0)

    def stops(self, trial: FrozenTrial) -> bool:
        """Whether a trial on a rung is not among the best on it."""
        epoch, bracket = trial.last_step, self.bracket_of(trial)
        if epoch is None or not self._is_rung(epoch, bracket):
            return False
        value = trial.intermediate_values[epoch]
        if math.isnan(value):
            return True
        reached = self._rungs[bracket, epoch]
        bar = reached.best(max(len(reached) // self._factor, 1), largest=self._largest)
        return bool(value < bar if self._largest else value > bar)

    def bracket_of(self, trial: FrozenTrial) -> int:
        """Return the bracket a trial competes in: there is one."""
        return 0

    def _is_rung(self, epoch: int, bracket: int) -> bool:
        rung: int = self._min_epochs * self._factor**bracket
        while rung < epoch:
            rung *= self._factor
        return rung == epoch


class Hyperband(AsynchronousHalving):
    """Hyperband (Li et al. 2018) with asynchronous brackets: ASHA in brackets whose first rung is ever later.

    Bracket b begins to stop trials at min_epochs * reduction_factor ** b. Points go to brackets in Hyperband's
    proportions, by their number alone: the fractional part of the number times the golden ratio, which fills every
    interval evenly. Trials are compared with those of their bracket only; replicates of a point are in the same one.
    """

    def __init__(self, min_epochs: int, reduction_factor: int, max_epochs: int, *, largest: bool) -> None:
        super().__init__(min_epochs, reduction_factor, largest=largest)
        brackets = 1
        while min_epochs * reduction_factor**brackets <= max_epochs:
            brackets += 1
        points = [math.ceil(brackets * reduction_factor**s / (s + 1)) for s in reversed(range(brackets))]
        self._up_to = [sum(points[: at + 1]) / sum(points) for at in range(brackets)]

    def bracket_of(self, trial: FrozenTrial) -> int:
        """Return the bracket of the trial's point."""
        place = replicate_of(trial)[0] * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0
        return next(at for at, end in enumerate(self._up_to) if place < end or at == len(self._up_to) - 1)


class Percentile(Pruner):
    """Stop trials that are not among the best percent of the trials before them (Golovin et al. 2017).

    A trial's best value so far is compared with those of the trials that ran to their end at the same epoch, once
    there are five of them; none is stopped before min_epochs. It decides as Optuna's PercentilePruner does.
    """

    def __init__(self, percent: float, min_epochs: int, *, largest: bool) -> None:
        self._percent = 100.0 - percent if largest else percent
        self._min_epochs = min_epochs
        self._largest = largest
        self._whole: dict[int, SortedReports] = {}
        self._ended = 0

    def on_tell(self, trial: FrozenTrial) -> None:
        """Compare later trials with one that ran to its end."""
        if trial.state is OptunaState.COMPLETE:
            self._ended += 1
            for epoch, value in trial.intermediate_values.items():
                self._whole.setdefault(epoch, SortedReports()).put(trial.number, value)

    def depends_on_others(self, epoch: int) -> bool:
        """Whether trials of this age may stop."""
        return epoch >= self._min_epochs

    def stops(self, trial: FrozenTrial) -> bool:
        """Whether the trial is worse than it must be."""
        epoch = trial.last_step
        if epoch is None or epoch < self._min_epochs or self._ended < WHOLE_TRIALS_FIRST:
            return False
        values = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        if not values:
            return True
        others = self._whole.get(epoch)
        if not others:
            return False
        bar = others.percentile(self._percent)
        return max(values) < bar if self._largest else min(values) > bar


class Patient(Pruner):
    """Stop a trial that had no better value for so many epochs; other trials do not matter."""

    def __init__(self, patience: int, min_epochs: int, *, largest: bool) -> None:
        self._patience = patience
        self._min_epochs = min_epochs
        self._largest = largest

    def stops(self, trial: FrozenTrial) -> bool:
        """Whether the best value is so old."""
        epoch = trial.last_step
        if epoch is None or epoch < self._min_epochs:
            return False
        best, since = None, 0
        for at in sorted(trial.intermediate_values):
            value = trial.intermediate_values[at]
            since += 1
            if not math.isnan(value) and is_better(value, best, "max" if self._largest else "min"):
                best, since = value, 0
        return since >= self._patience


class SignedRanks:
    """Whether a point is worse than the best one, by the one-sided signed-rank test over common replicates.

    The best point is the one with the best mean among those with at least as many values as the judged one, so
    that others are not compared with a lucky first replicate. A point whose own mean is as good as the best
    one's is never worse, whatever the ranks say. With n pairs no p is below 2 ** -n, so four are needed for 0.1.

    Source: Wilcoxon 1945; the rule of Optuna's WilcoxonPruner, with replicates as its steps.
    """

    def __init__(self, p_value: float, *, largest: bool) -> None:
        self._p_value = p_value
        self._sign = -1.0 if largest else 1.0  # smaller is better from here on
        self._values: dict[int, dict[int, float]] = {}
        self._by_mean: dict[int, list[tuple[float, int]]] = {}  # points by how many values they have, best first

    def put(self, point: int, replicate: int, value: float) -> None:
        """Add the value of a replicate."""
        values = self._values.setdefault(point, {})
        if values:
            ranked = self._by_mean[len(values)]
            del ranked[bisect_left(ranked, (_mean(values), point))]
        values[replicate] = self._sign * value
        insort(self._by_mean.setdefault(len(values), []), (_mean(values), point))

    def is_worse(self, point: int, replicate: int, value: float) -> bool:
        """Whether a point would be worse than the best one with one more value."""
        mine = {**self._values.get(point, {}), replicate: self._sign * value}
        best = self._best(len(mine), point)
        if best is None:
            return False
        theirs = self._values[best]
        common = sorted(mine.keys() & theirs.keys())
        if len(common) < FEWEST_PAIRS or _mean(mine) <= _mean(theirs):
            return False
        return _p_of([mine[replicate] - theirs[replicate] for replicate in common]) < self._p_value

    def _best(self, least: int, but: int) -> int | None:
        """Return the best point that has at least so many values."""
        firsts = (
            next((entry for entry in ranked if entry[1] != but), None)
            for count, ranked in self._by_mean.items()
            if count >= least
        )
        return min((entry for entry in firsts if entry is not None), default=(0.0, None))[1]


def _mean(values: dict[int, float]) -> float:
    return fmean(values[replicate] for replicate in sorted(values))


def _p_of(differences: list[float]) -> float:
    from scipy.stats import wilcoxon  # 0.3 s to import

    return float(wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue)


class Wilcoxon(Pruner):
    """Begin no further replicate of a point that is worse than the best one; no running trial is stopped."""

    def __init__(self, p_value: float, *, largest: bool) -> None:
        self._ranks = SignedRanks(p_value, largest=largest)

    def on_tell(self, trial: FrozenTrial) -> None:
        """Add the value of a replicate that ran to its end."""
        if trial.state is OptunaState.COMPLETE:
            self._ranks.put(*replicate_of(trial), trial.values[0])

    def settles(self, trial: FrozenTrial, value: float) -> bool:
        """Whether the point is worse with this value among its others."""
        return self._ranks.is_worse(*replicate_of(trial), value)


def longest(spec: StudySpec) -> int:
    """Return the largest number of epochs that a trial of a study can have."""
    domain = next((parameter.domain for parameter in spec.space if parameter.name == "max_epochs"), None)
    match domain:
        case None:
            return spec.trial.max_epochs
        case Constant(value=value):
            return int(value)
        case Integer(high=high) | Uniform(high=high):
            return max(int(high), spec.trial.max_epochs)
    return max(*(int(value) for value in domain.values), spec.trial.max_epochs)


def first_age(spec: StudySpec) -> int:
    """Return the age at which a trial of a study may be stopped first.

    After its first epochs, of few steps, what a trial is worth does not show yet; in a long one four cost little.
    """
    return spec.search.min_epochs or min(max(longest(spec) // 4, 1), LATEST_FIRST_AGE)


def _largest(spec: StudySpec) -> bool:
    return spec.objective.mode == "max"


PRUNERS: dict[str, Callable[[StudySpec], Pruner]] = {
    "asha": lambda spec: AsynchronousHalving(first_age(spec), spec.search.reduction_factor, largest=_largest(spec)),
    "hyperband": lambda spec: Hyperband(
        first_age(spec), spec.search.reduction_factor, longest(spec), largest=_largest(spec)
    ),
    "median": lambda spec: Percentile(50.0, first_age(spec), largest=_largest(spec)),
    "percentile": lambda spec: Percentile(spec.search.percentile, first_age(spec), largest=_largest(spec)),
    "patient": lambda spec: Patient(spec.search.patience, first_age(spec), largest=_largest(spec)),
    "wilcoxon": lambda spec: Wilcoxon(spec.search.p_value, largest=_largest(spec)),
    "none": lambda spec: Pruner(),
}
"""To add a pruner, write its class above, its line here, and its name to ``PrunerName`` (search_config.py)."""


def build_pruner(spec: StudySpec) -> Pruner:
    """Make the pruner a study asks for."""
    return PRUNERS[spec.pruner](spec)

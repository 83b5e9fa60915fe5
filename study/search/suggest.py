"""The searcher: lets the sampler draw the next point of a search, and never repeats a point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop
from itertools import islice
from typing import Any

from optuna import create_study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.config.hyperparameters import Scalar
from study.config.study_config import StudySpec, stable_seed
from study.designs.grid import grid_points
from study.designs.space import constants, is_continuous
from study.records import TrialState
from study.search.observations import ObservationHistory
from study.search.optuna_adapter import PointStorage, StreamSampler, frozen_point, study_directions
from study.search.prior_trials import PriorTrial
from study.search.samplers import SAMPLERS, Stream, random
from study.search.space import active_distributions, exact_value, suggest
from study.trials.queue import PointKey, TrialQueue, point_key

_FEWEST = 1024


class UnvisitedPoints:
    """The points of a finite space that were not run, in the order of a stable hash.

    Only the first points of the space's list are ordered: a power of two, and at least twice as many as were run. So
    the next point depends only on those that were run, and a study that runs all n points lists them O(log n) times.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._listed = 0
        self._waiting: list[tuple[int, int]] = []
        self._points: list[dict[str, Scalar]] = []

    def next(self, seen: Set[PointKey]) -> Mapping[str, Scalar] | None:
        """Return the next point that is not among the seen ones, None when all are."""
        wanted = _FEWEST
        while wanted < 2 * len(seen):
            wanted *= 2
        if wanted != self._listed:
            self._list(wanted)
        while self._waiting:
            point = self._points[self._waiting[0][1]]
            if point_key(point) not in seen:
                return point
            heappop(self._waiting)
        return None

    def _list(self, count: int) -> None:
        self._listed = count
        self._points = list(islice(grid_points(self._spec.space), count))
        seed = self._spec.search.seed
        self._waiting = [(_hash(seed, point), at) for at, point in enumerate(self._points)]
        heapify(self._waiting)


def _hash(seed: int, point: Mapping[str, Scalar]) -> int:
    return stable_seed(seed, "unseen", *sorted(point.items()))


_AT_RANDOM = 100
_AT_RANDOM_WITHOUT_END = 10_000


@dataclass(frozen=True)
class Suggestion:
    """A point to run: its values, Optuna's form of them, and what the sampler wants to have stored."""

    values: Mapping[str, Scalar]
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    of_trial: Mapping[str, Any] = field(default_factory=dict)
    of_study: Mapping[str, Any] = field(default_factory=dict)


def suggestion_from(spec: StudySpec, values: Mapping[str, Scalar]) -> Suggestion:
    """Return a point whose values are known."""
    known, params = constants(spec.space), {}
    names, distributions = {}, {}
    for parameter, name, asked in active_distributions(spec.space, known):
        value = exact_value(asked, values[parameter.name])
        known[parameter.name] = params[name] = names[parameter.name] = value
        distributions[name] = asked
    return Suggestion(names, params, distributions)


class Searcher:
    """The sampler of a study and the points it is shown.

    A suggestion that was run already, as a discrete space has them, is drawn again from another stream, then drawn at
    random, and in the end an unvisited point of a finite space is taken.
    """

    def __init__(
        self,
        spec: StudySpec,
        earlier: Sequence[PriorTrial],
        queue: TrialQueue,
        trial_of: Callable[[int], FrozenTrial],
        study_attrs: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._spec = spec
        self._queue = queue
        self._study_attrs = study_attrs
        self._sampler = SAMPLERS[spec.search.sampler]
        endless = any(is_continuous(parameter.domain) for parameter in spec.space)
        self._unvisited = None if endless else UnvisitedPoints(spec)
        self._storage = PointStorage()
        self._study = create_study(storage=self._storage, directions=study_directions(spec))
        points = [self._prior_point(number, prior) for number, prior in enumerate(earlier)]
        mode = spec.objective.mode if len(spec.objective_list) == 1 else None
        self.history = ObservationHistory(points, self._sampler.observations(spec), queue, trial_of, mode)

    def draw(self, trial: int, point: int, given: Mapping[str, Scalar] | None = None) -> Suggestion | None:
        """Draw a new point; None when a finite space has none left.

        Args:
            trial: number of the trial it is drawn for.
            point: its number.
            given: values that are there already.
        """
        attrs, shown, number = self._study_attrs(), self.history.shown(), self.history.number_of(point)
        for make, stream in self._attempts(Stream(self._spec, trial, point)):
            self._storage.show(shown, number, attrs)
            suggestion = self._draw(make, stream, given)
            if given or point_key(suggestion.values) not in self._queue.keys:
                return suggestion
        left = self._unvisited.next(self._queue.keys) if self._unvisited else None
        return None if left is None else suggestion_from(self._spec, left)

    def _attempts(self, stream: Stream) -> Iterator[tuple[Callable[[Stream], BaseSampler], Stream]]:
        redraws = self._sampler.redraws
        for redraw in range(redraws + 1):
            yield self._sampler.make, replace(stream, redraw=redraw)
        for redraw in range(_AT_RANDOM if self._unvisited else _AT_RANDOM_WITHOUT_END):
            yield random, replace(stream, redraw=redraws + 1 + redraw)

    def _draw(
        self, make: Callable[[Stream], BaseSampler], stream: Stream, given: Mapping[str, Scalar] | None
    ) -> Suggestion:
        self._study.sampler = StreamSampler(lambda name: make(replace(stream, parameter=name)), given)
        drawn = suggestion_from(self._spec, suggest(self._study.ask(), self._spec.space))
        keeps_attrs = self._sampler.keeps_attrs and make is self._sampler.make
        of_trial = self._storage.drawn.system_attrs if keeps_attrs else {}
        return replace(drawn, of_trial=of_trial, of_study=self._storage.new_study_attrs)

    def _prior_point(self, number: int, prior: PriorTrial) -> FrozenTrial:
        """Return a point of an earlier study as one that ended here; for NSGA-II it is of the first generation."""
        self._storage.show((), number, {})
        drawn = self._draw(self._sampler.make, Stream(self._spec, number, number), prior.params)
        is_complete = prior.state is TrialState.COMPLETE
        return frozen_point(
            number,
            OptunaState.COMPLETE if is_complete else OptunaState.PRUNED,
            drawn.params,
            drawn.distributions,
            values=[prior.values[objective.metric] for objective in self._spec.objective_list] if is_complete else None,
            reported=prior.epochs,
            system_attrs=drawn.of_trial,
        )

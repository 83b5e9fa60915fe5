"""Let a sampler choose the next point of a search, and never one that was run already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop
from itertools import islice
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from study.config.hyperparameters import Scalar
from study.config.search_config import Mode
from study.config.search_space import Choice, Constant, Integer
from study.config.study_config import StudySpec, stable_seed
from study.designs.grid import grid_points
from study.records import TrialState
from study.search.observations import SELECTIONS, ObservationHistory
from study.search.optuna_adapter import BufferedAttrs, PendingTrial, PointStudy, only_given
from study.search.prior_trials import PriorTrial
from study.search.samplers import SAMPLERS, Stream, random
from study.search.space import suggest
from study.trials.queue import PointKey, TrialQueue, point_key

_FEWEST = 1024


def is_finite(spec: StudySpec) -> bool:
    """Whether a space has listed values only."""
    return all(isinstance(one.domain, Choice | Constant | Integer) or one.domain.step is not None for one in spec.space)


class UnvisitedPoints:
    """The points of a finite space that were not run, in the order of a stable hash.

    Of a space with far more points than were run only the first of its list are looked at: a power of two, and at
    least twice as many as were run. So the next point depends on those that were run alone, and a study that runs all
    n points of a space lists them O(log n) times.
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


REDRAWS = {"gp": 3}  # a Gaussian process has one best point, whatever the stream, and takes seconds to find it
_REDRAWS = 20
_AT_RANDOM = 100
_AT_RANDOM_WITHOUT_END = 10_000
_GENERATION = "NSGAIISampler:generation"
_PARENTS = "NSGAIISampler:parent:"


@dataclass(frozen=True)
class Suggestion:
    """A point to run: its values, Optuna's form of them, and what the sampler wants to find again."""

    values: Mapping[str, Scalar]
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    of_trial: Mapping[str, Any] = field(default_factory=dict)
    of_study: Mapping[str, Any] = field(default_factory=dict)


def suggestion_from(spec: StudySpec, values: Mapping[str, Scalar]) -> Suggestion:
    """Return a point whose values are known."""
    draw = PendingTrial(only_given, None, 0, values)
    found = suggest(draw, spec.space)
    return Suggestion(found, draw.params, draw.distributions)


class Searcher:
    """The sampler of a study and what it is shown.

    A suggestion that was run already, as a discrete space has them, is drawn again from another stream, then drawn at
    random, and in the end an unseen point of a finite space is taken.
    """

    def __init__(
        self,
        spec: StudySpec,
        earlier: Sequence[PriorTrial],
        roster: TrialQueue,
        trial_of: Callable[[int], FrozenTrial],
        study_attrs: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._spec = spec
        self._roster = roster
        self._study_attrs = study_attrs
        self._directions = [_direction(one.mode) for one in spec.objective_list]
        self._unseen = UnvisitedPoints(spec) if is_finite(spec) else None
        shown = [_as_trial(spec, number, one) for number, one in enumerate(earlier)]
        mode = spec.objective.mode if len(spec.objective_list) == 1 else None
        self.history = ObservationHistory(shown, SELECTIONS[spec.search.sampler](spec), roster, trial_of, mode)

    def draw(self, trial: int, point: int, given: Mapping[str, Scalar] | None = None) -> Suggestion | None:
        """Draw a new point; None when a finite space has none left.

        Args:
            trial: number of the trial it is drawn for.
            point: its number.
            given: values that are there already.
        """
        attrs = self._study_attrs()
        points = self.history.shown(_parents(attrs))
        for make, stream in self._attempts(Stream(self._spec, trial, point)):
            notes = BufferedAttrs(attrs)
            found = self._draw(make, stream, PointStudy(self._directions, points, notes), given)
            if given or point_key(found.values) not in self._roster.keys:
                is_own = make is not random
                return replace(found, of_trial=notes.of_trial if is_own else {}, of_study=notes.of_study)
        left = self._unseen.next(self._roster.keys) if self._unseen else None
        return None if left is None else suggestion_from(self._spec, left)

    def _attempts(self, stream: Stream) -> Iterator[tuple[Callable[[Stream], BaseSampler], Stream]]:
        sampler = self._spec.search.sampler
        redraws = REDRAWS.get(sampler, _REDRAWS)
        for redraw in range(redraws + 1):
            yield SAMPLERS[sampler], replace(stream, redraw=redraw)
        for redraw in range(_AT_RANDOM if self._unseen else _AT_RANDOM_WITHOUT_END):
            yield random, replace(stream, redraw=redraws + 1 + redraw)

    def _draw(
        self,
        make: Callable[[Stream], BaseSampler],
        stream: Stream,
        study: PointStudy,
        given: Mapping[str, Scalar] | None,
    ) -> Suggestion:
        number = self.history.number_of(stream.point)
        draw = PendingTrial(lambda name: make(replace(stream, parameter=name)), study, number, given)
        return Suggestion(suggest(draw, self._spec.space), draw.params, draw.distributions)


def _direction(mode: Mode) -> StudyDirection:
    return StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE


def _parents(attrs: Mapping[str, Any]) -> list[int]:
    """Return the points that the last two generations of NSGA-II descend from."""
    generations = sorted(int(key.removeprefix(_PARENTS)) for key in attrs if key.startswith(_PARENTS))
    return [int(number) for one in generations[-2:] for number in attrs[f"{_PARENTS}{one}"]]


def _as_trial(spec: StudySpec, number: int, earlier: PriorTrial) -> FrozenTrial:
    """Return a point of an earlier study as one that ended here; for NSGA-II it is of the first generation."""
    drawn = suggestion_from(spec, earlier.params)
    is_whole = earlier.state is TrialState.COMPLETE
    trial = create_trial(
        state=OptunaState.COMPLETE if is_whole else OptunaState.PRUNED,
        values=[earlier.values[one.metric] for one in spec.objective_list] if is_whole else None,
        params=dict(drawn.params),
        distributions=dict(drawn.distributions),
        intermediate_values=dict(earlier.epochs),
        system_attrs={_GENERATION: 0},
    )
    trial.number = trial._trial_id = number
    return trial

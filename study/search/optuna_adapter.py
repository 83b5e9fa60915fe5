"""Draw a whole point from an Optuna sampler before anything of it is stored."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from study.config.hyperparameters import Scalar
from study.search.space import SHORTER_LIST, nearest_step

_PASSED_ON = ":relative_params:"  # for other processes that draw at the same time; here there are none


class BufferedAttrs:
    """The storage as a sampler sees it: what it notes is held here, to be stored with the trial."""

    def __init__(self, of_study: Mapping[str, Any]) -> None:
        self._stored = of_study
        self.of_study: dict[str, Any] = {}
        self.of_trial: dict[str, Any] = {}

    def get_study_system_attrs(self, study_id: int) -> Mapping[str, Any]:
        """Return what was noted of the study, before and now."""
        return ChainMap(self.of_study, self._stored)  # type: ignore[arg-type]  # nobody writes to the stored ones

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something of the study."""
        self.of_study[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something of the point that is drawn."""
        if _PASSED_ON not in key:
            self.of_trial[key] = value


class PointStudy(optuna.Study):
    """An Optuna study whose trials are points."""

    def __init__(
        self, directions: Sequence[StudyDirection], points: Sequence[FrozenTrial], notes: BufferedAttrs
    ) -> None:
        self.study_name = "points"
        self._study_id = 0
        self._directions = list(directions)
        self._storage = notes  # type: ignore[assignment]  # all of a storage that samplers use
        self._points = points

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Return the points in these states, by number; they are not copied."""
        return [one for one in self._points if states is None or one.state in states]

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
        return self.get_trials(deepcopy, states)

    def one_of_each_kind(self) -> PointStudy:
        """Return the study with one ended point of those that share the same dictionary of domains."""
        kinds = {id(one.distributions): one for one in self._points if one.state.is_finished()}
        return PointStudy(self._directions, list(kinds.values()), self._storage)  # type: ignore[arg-type]


class PendingTrial:
    """One point being drawn; ``space.suggest`` takes it for a trial.

    Every value comes from a sampler of its own, so that it depends on nothing but its random stream and on what the
    sampler is shown. Values in ``given`` are taken as they are.
    """

    def __init__(
        self,
        sampler_of: Callable[[str], BaseSampler],
        study: PointStudy | None,
        number: int,
        given: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._sampler_of = sampler_of
        self._study: Any = study
        self._given = given or {}
        self._trial = create_trial(state=OptunaState.RUNNING)
        self._trial.number = self._trial._trial_id = number
        self._together_space: dict[str, BaseDistribution] = {}
        self._together: dict[str, Any] = {}
        if study is not None:
            sampler = sampler_of("")
            self._together_space = sampler.infer_relative_search_space(study, self._trial)
            self._together = sampler.sample_relative(study, self._trial, self._together_space)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggest one of the choices."""
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest a real number."""
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Suggest an integer."""
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def _suggest(self, name: str, asked: BaseDistribution) -> Any:
        bare = name.partition(SHORTER_LIST)[0]
        if bare in self._given:
            value: Any = self._given[bare]
        elif asked.single():
            value = asked.choices[0] if isinstance(asked, CategoricalDistribution) else asked.low  # type: ignore[attr-defined]
        elif self._is_together(name, asked):
            value = self._together[name]
        else:
            value = self._sampler_of(name).sample_independent(self._study, self._trial, name, asked)
        if isinstance(asked, FloatDistribution) and asked.step is not None:
            value = nearest_step(value, asked.low, asked.step)
        self.params[name], self.distributions[name] = value, asked
        return value

    def _is_together(self, name: str, asked: BaseDistribution) -> bool:
        """Whether the sampler suggested this value together with others, from the same domain."""
        if name not in self._together or self._together_space.get(name) != asked:
            return False
        return bool(asked._contains(asked.to_internal_repr(self._together[name])))


def only_given(name: str) -> BaseSampler:
    """Be the sampler of a draw whose every value is given."""
    raise AssertionError(f"a listed point must have all its values, but {name} is missing")

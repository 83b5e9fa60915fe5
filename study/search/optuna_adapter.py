"""An Optuna study whose trials are the points a sampler is shown; what is drawn in it is nowhere stored."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.config.hyperparameters import Scalar
from study.config.study_config import StudySpec
from study.search.space import SHORTER_LIST


def study_directions(spec: StudySpec) -> list[StudyDirection]:
    """Return the direction of each of a study's objectives."""
    return [
        StudyDirection.MAXIMIZE if objective.mode == "max" else StudyDirection.MINIMIZE
        for objective in spec.objective_list
    ]


def frozen_point(
    number: int,
    state: OptunaState,
    params: Mapping[str, Any] = {},
    distributions: Mapping[str, BaseDistribution] = {},
    *,
    values: Sequence[float] | None = None,
    reported: Mapping[int, float] = {},
    system_attrs: Mapping[str, Any] = {},
) -> FrozenTrial:
    """Return a point as a trial; its number is its id too."""
    return FrozenTrial(
        number=number, trial_id=number, state=state, value=None, values=values, datetime_start=None,
        datetime_complete=None, params=dict(params), distributions=dict(distributions), user_attrs={},
        system_attrs=dict(system_attrs), intermediate_values=dict(reported),
    )  # fmt: skip


class PointStorage(InMemoryStorage):
    """A storage whose trials are the points to show, which are not copied, and the one point that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.show((), 0, {})

    def show(self, points: Sequence[FrozenTrial], number: int, study_attrs: Mapping[str, Any]) -> None:
        """Show these points, and the attributes that samplers stored of the study, to whoever draws a new point."""
        self._points = points
        self._study_attrs = study_attrs
        self.new_study_attrs: dict[str, Any] = {}
        self.drawn = frozen_point(number, OptunaState.RUNNING)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Return the id of the point that is drawn."""
        return self.drawn.number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the point that is drawn; the samplers take the others from ``get_all_trials``."""
        assert trial_id == self.drawn.number
        return self.drawn

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        """Return the points in these states, by number."""
        return [point for point in self._points if states is None or point.state in states]

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a value of the point that is drawn."""
        self.drawn.params[param_name] = distribution.to_external_repr(param_value_internal)
        self.drawn.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep what the sampler stores of the point that is drawn."""
        self.drawn.system_attrs[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what samplers stored of the study, before and now."""
        return {**self._study_attrs, **self.new_study_attrs}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keep what the sampler stores of the study."""
        self.new_study_attrs[key] = value


class StreamSampler(BaseSampler):
    """Draws every value by a sampler of its own, so that it depends only on its random stream and on the points shown.

    Args:
        sampler_of: returns the sampler for a parameter's name; for "" that of the values that are drawn together.
        given: values that are taken as they are, by parameter.
    """

    def __init__(self, sampler_of: Callable[[str], BaseSampler], given: Mapping[str, Scalar] | None = None) -> None:
        self._sampler_of = sampler_of
        self._together = sampler_of("")
        self._given = given or {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the domains of the values that are drawn together."""
        return self._together.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw values together."""
        values = self._together.sample_relative(study, trial, search_space)
        return {name: value for name, value in values.items() if _bare(name) not in self._given}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one value, unless it is given."""
        if (bare := _bare(param_name)) in self._given:
            return self._given[bare]
        return self._sampler_of(param_name).sample_independent(study, trial, param_name, param_distribution)


def _bare(name: str) -> str:
    return name.partition(SHORTER_LIST)[0]

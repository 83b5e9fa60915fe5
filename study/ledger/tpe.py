"""Run Optuna's TPE in less time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.trial import FrozenTrial

from study.ledger.draw import PointStudy


class QuickTPESampler(TPESampler):
    """Optuna's TPE with scipy's logarithm of the normal distribution function, and a short look at the search space.

    Optuna's own logarithm is a loop in Python over every kernel, made so as not to need scipy, and takes three quarters
    of the time of a suggestion. Scipy's is the more exact of the two where the function is near 0; nowhere do they
    differ by more than 1e-12 of the value or 1e-15. Of the rest a quarter goes into comparing the domains of every
    point shown, of which one of each kind says as much.
    """

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the domains that all points have in common."""
        few = study.one_of_each_kind() if isinstance(study, PointStudy) else study
        return super().infer_relative_search_space(few, trial)

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with _vectorised_tails():
            return super()._sample(study, trial, search_space)


@contextmanager
def _vectorised_tails() -> Iterator[None]:
    from scipy.special import log_ndtr

    known = _truncnorm._log_ndtr
    _truncnorm._log_ndtr = log_ndtr  # type: ignore[assignment]  # it takes arrays and gives arrays too
    try:
        yield
    finally:
        _truncnorm._log_ndtr = known

"""What makes TPE quicker changes nothing of what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from engine_fakes import make_spec, make_storage, metrics
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from scipy.special import log_ndtr

from study.records import StopReason, TrialState
from study.search.optuna_adapter import PointStudy
from study.search.samplers import QuickTPESampler, _vectorised_tails

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_domains_in_common_are_those_optuna_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[int, int]] = []
    quick = QuickTPESampler.infer_relative_search_space

    def compared(sampler: QuickTPESampler, study: optuna.Study, trial: FrozenTrial) -> object:
        found = quick(sampler, study, trial)
        plain = TPESampler.infer_relative_search_space(TPESampler(seed=0), study, trial)
        assert found == plain
        assert list(found) == list(plain)
        assert isinstance(study, PointStudy)
        ended = [one for one in study.get_trials() if one.state in (OptunaState.COMPLETE, OptunaState.PRUNED)]
        looks.append((len(ended), len(study.one_of_each_kind().get_trials())))
        return found

    monkeypatch.setattr(QuickTPESampler, "infer_relative_search_space", compared)
    storage, _ = make_storage(tmp_path / "study", make_spec(trials=60, sampler="tpe"))
    while (assignment := storage.ask()) is not None:
        storage.report(assignment.trial, metrics(1, assignment.trial % 17 / 20))
        storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)
    # With momentum, which depends on the optimizer, and without.
    assert max(looks) == (59, 2)


def test_quick_tails_are_optunas() -> None:
    at = np.concatenate([np.linspace(-40, 40, 20_001), [-1e6, 1e6, -np.inf, np.inf, 0.0]])
    before: Callable[..., np.ndarray] = _truncnorm._log_ndtr
    assert np.allclose(before(at), log_ndtr(at), rtol=1e-12, atol=1e-15)
    with _vectorised_tails():
        assert _truncnorm._log_ndtr is log_ndtr
    assert _truncnorm._log_ndtr is before

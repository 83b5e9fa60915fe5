"""A trial's progress: its epochs so far, the selected one, and when training stops. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from study.best_epoch import best_epoch
from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective
from study.metric_catalog import metric_named
from study.records import EpochMetrics, StopReason


@dataclass(frozen=True)
class TrainingProgress:
    """Every epoch of a trial so far and which one is selected.

    ``ended`` is the reason if training ends here; then ``evaluation`` holds the metrics of the selected checkpoint
    that are not measured every epoch.
    """

    history: tuple[EpochMetrics, ...] = ()
    best_epoch: int | None = None
    best_value: float | None = None
    ended: StopReason | None = None
    evaluation: Mapping[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The last finished epoch, 0 before the first."""
        return self.history[-1].epoch if self.history else 0

    def advance(self, now: EpochMetrics, objective: Objective) -> TrainingProgress:
        """Return the progress after one more epoch."""
        known = () if self.best_epoch is None or self.best_value is None else ((self.best_epoch, self.best_value),)
        best = best_epoch((*known, (now.epoch, now.values[objective.metric])), objective.mode)
        assert best is not None
        return replace(self, history=(*self.history, now), best_epoch=best[0], best_value=best[1])


def find_stop_reason(config: Hyperparameters, history: Sequence[EpochMetrics]) -> StopReason | None:
    """Return why a trial ends by itself after these epochs, None while it goes on."""
    if history and history[-1].epoch >= config.max_epochs:
        return StopReason.FINISHED
    patience = config.early_stopping_patience
    if patience is not None and epochs_without_improvement(config, history) >= patience:
        return StopReason.EARLY_STOPPED
    return None


def epochs_without_improvement(config: Hyperparameters, history: Sequence[EpochMetrics]) -> int:
    """Count the epochs since the early-stopping metric last improved by more than min_delta, as Keras does."""
    metric = metric_named(config.early_stopping_metric)
    assert metric is not None
    assert metric.mode is not None
    sign = 1 if metric.mode == "max" else -1
    best, since = None, 0
    for epoch in history:
        value = sign * epoch.values[config.early_stopping_metric]
        since += 1
        if best is None or value > best + config.early_stopping_min_delta:
            best, since = value, 0
    return since

"""Where a trial stands and when it has to end; pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective
from study.metrics import is_better, metric_named
from study.records import EpochMetrics, StopReason


@dataclass(frozen=True)
class TrainingProgress:
    """Where a trial stands: every epoch so far and which one is selected.

    ``ended`` says why training ends here, if it does; then ``evaluation`` holds the metrics of the selected
    checkpoint that are not measured epoch by epoch.
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
        value = now.values[objective.metric]
        better = is_better(value, self.best_value, objective.mode)
        history = (*self.history, now)
        return replace(
            self,
            history=history,
            best_epoch=now.epoch if better else self.best_epoch,
            best_value=value if better else self.best_value,
        )


def reason_to_end(config: Hyperparameters, history: Sequence[EpochMetrics]) -> StopReason | None:
    """Say why a trial ends by itself after these epochs, None when it goes on."""
    if history and history[-1].epoch >= config.max_epochs:
        return StopReason.FINISHED
    if config.early_stopping_patience is not None and epochs_without_gain(config, history) >= (
        config.early_stopping_patience
    ):
        return StopReason.EARLY_STOPPED
    return None


def epochs_without_gain(config: Hyperparameters, history: Sequence[EpochMetrics]) -> int:
    """Count the epochs since the early-stopping metric last improved by more than min_delta, as Keras does."""
    metric = metric_named(config.early_stopping_metric)
    assert metric is not None
    assert metric.mode is not None
    sign = 1 if metric.mode == "max" else -1
    best, since = None, 0
    for one in history:
        value = sign * one.values[config.early_stopping_metric]
        since += 1
        if best is None or value > best + config.early_stopping_min_delta:
            best, since = value, 0
    return since

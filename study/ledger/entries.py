"""Read what the ledger stored of a trial; pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.records import EpochMetrics, StopReason, TrialRecord, TrialState, is_better
from study.spec import Objective

ASKED, ATTEMPTS, DECIDED, ENDED = "asked", "attempts", "decided_epoch", "ended"
PRUNED, EVALUATION = "pruned_epoch", "evaluation"
EPOCH_PREFIX = "epoch:"
STATES: Mapping[OptunaState, TrialState] = {
    OptunaState.WAITING: TrialState.WAITING,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
TOLD: Mapping[TrialState, OptunaState] = {state: told for told, state in STATES.items() if state.is_finished}


@dataclass(frozen=True)
class Epoch:
    """One epoch as it was stored: when, and the selected checkpoint at that time."""

    metrics: EpochMetrics
    at_s: float
    checkpoint: str | None

    def as_json(self) -> dict[str, object]:
        """Return the stored form; the epoch itself is in the key."""
        return {"values": dict(self.metrics.values), "at_s": self.at_s, "checkpoint": self.checkpoint}


def stored_epochs(attrs: Mapping[str, Any]) -> list[Epoch]:
    """Return all stored epochs, the oldest first."""
    found = ((int(key.removeprefix(EPOCH_PREFIX)), one) for key, one in attrs.items() if key.startswith(EPOCH_PREFIX))
    ordered = sorted(found, key=lambda pair: pair[0])
    return [Epoch(EpochMetrics(epoch, one["values"]), one["at_s"], one["checkpoint"]) for epoch, one in ordered]


def to_record(study: str, trial: FrozenTrial, objective: Objective) -> TrialRecord:
    """Turn a stored trial into a record; what a kill kept from being stored is left empty."""
    attrs = trial.user_attrs
    asked, ended = attrs.get(ASKED, {}), attrs.get(ENDED, {}) if trial.state.is_finished() else {}
    config = dict(asked.get("config", {}))
    epochs = stored_epochs(attrs)
    history = tuple(one.metrics for one in epochs)
    best = best_epoch(history, objective)
    kept = trial.state in (OptunaState.COMPLETE, OptunaState.PRUNED)
    return TrialRecord(
        study=study,
        trial=trial.number,
        state=STATES[trial.state],
        params=asked.get("params", {}),
        config=config,
        seed=int(config.get("seed", 0)),
        point=int(config.get("point", trial.number)),
        replicate=int(config.get("replicate", 0)),
        stop_reason=StopReason(ended["stop_reason"]) if ended else None,
        value=None if best is None else best.values[objective.metric],
        epoch=None if best is None else best.epoch,
        epochs_run=history[-1].epoch if history else 0,
        metrics={} if best is None else {**best.values, **attrs.get(EVALUATION, {})},
        history=history,
        checkpoint=epochs[-1].checkpoint if kept and epochs else None,
        started_at_s=asked.get("started_at_s"),
        finished_at_s=ended.get("finished_at_s"),
        attempts=int(attrs.get(ATTEMPTS, 1)),
        error=ended.get("error"),
    )


def best_epoch(history: Sequence[EpochMetrics], objective: Objective) -> EpochMetrics | None:
    """Return the best epoch, the earlier one of equals."""
    best: EpochMetrics | None = None
    for one in history:
        value = one.values[objective.metric]
        if is_better(value, None if best is None else best.values[objective.metric], objective.mode):
            best = one
    return best

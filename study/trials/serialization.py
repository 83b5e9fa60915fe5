"""What is stored of a trial, and how a record is read from it; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from study.best_epoch import selected_epoch
from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.paths import StudyLayout
from study.records import EpochMetrics, StopReason, TrialRecord, TrialState

ASKED, ATTEMPTS, DECIDED, ENDED = "asked", "attempts", "decided_epoch", "ended"
PRUNED, STOP_REASON, SETTLED = "pruned_epoch", "stop_reason", "point_settled"
EVALUATION, ALONE = "evaluation", "alone"
EPOCH_PREFIX = "epoch:"
YEAR_5138_S = 1e11
STATES: Mapping[int, TrialState] = {
    0: TrialState.RUNNING,
    1: TrialState.COMPLETE,
    2: TrialState.PRUNED,
    3: TrialState.FAILED,
    4: TrialState.WAITING,
}
"""States by the number that Optuna stores."""


class StoredTrial(Protocol):
    """The fields read of a stored trial, Optuna's or the reader's."""

    @property
    def number(self) -> int:
        """Its number."""

    @property
    def state(self) -> int:
        """Its state as a key of STATES."""

    @property
    def user_attrs(self) -> Mapping[str, Any]:
        """What was stored of it."""


@dataclass(frozen=True)
class StoredEpoch:
    """One epoch as it was stored: when, the selected checkpoint at that time, and the time it took a worker."""

    metrics: EpochMetrics
    at_s: float
    checkpoint: str | None
    busy_s: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return the stored form; the epoch itself is in the key."""
        values = dict(self.metrics.values)
        return {"values": values, "at_s": self.at_s, "checkpoint": self.checkpoint, "busy_s": self.busy_s}


@dataclass(frozen=True)
class StopDecision:
    """The decision that a trial ends after an epoch, 0 for before its first."""

    epoch: int
    reason: StopReason


@dataclass(frozen=True)
class Assignment:
    """A trial to run, new or interrupted; one that is to ``stop`` is only evaluated.

    ``alone`` says that it ran out of memory beside others and needs a device of its own.
    """

    config: TrialConfig
    record: TrialRecord
    stop: StopDecision | None = None
    alone: bool = False

    @property
    def trial(self) -> int:
        """The trial's number."""
        return self.record.trial


def stored_epochs(attrs: Mapping[str, Any]) -> list[StoredEpoch]:
    """Return all stored epochs, the oldest first."""
    epochs = sorted(int(key.removeprefix(EPOCH_PREFIX)) for key in attrs if key.startswith(EPOCH_PREFIX))
    return [stored_epoch(attrs, epoch) for epoch in epochs]


def stored_epoch(attrs: Mapping[str, Any], epoch: int) -> StoredEpoch:
    """Return one stored epoch.

    Raises:
        KeyError: there is no such epoch.
    """
    stored = attrs[f"{EPOCH_PREFIX}{epoch}"]
    return StoredEpoch(
        EpochMetrics(epoch, stored["values"]), stored["at_s"], stored["checkpoint"], stored.get("busy_s", 0.0)
    )


def replicate_of(trial: StoredTrial) -> tuple[int, int]:
    """Return a trial's point and replicate; a trial stored when each was its own point is that one."""
    config = trial.user_attrs.get(ASKED, {}).get("config", {})
    return int(config.get("point", trial.number)), int(config.get("replicate", 0))


def stop_of(trial: StoredTrial) -> StopDecision | None:
    """Return the decision to stop a trial, None where it may go on."""
    attrs = trial.user_attrs
    if PRUNED not in attrs:
        return None
    return StopDecision(int(attrs[PRUNED]), StopReason(attrs.get(STOP_REASON, StopReason.PRUNED)))


def is_settled(trial: StoredTrial) -> bool:
    """Whether this trial's outcome means that no further replicate of its point is begun."""
    stop = stop_of(trial)
    return SETTLED in trial.user_attrs or (stop is not None and stop.reason is StopReason.PRUNED)


def _moment(at_s: Any) -> float | None:
    """Return a stored moment.

    Raises:
        ValueError, TypeError: it is none.
    """
    if at_s is not None and not 0 <= at_s < YEAR_5138_S:
        raise ValueError(f"a moment must be seconds since 1970, but is {at_s}")
    return None if at_s is None else float(at_s)


def to_record(
    layout: StudyLayout,
    study: str,
    trial: StoredTrial,
    objective: Objective,
    *,
    kept: bool = True,
    run_id: str | None = None,
    epochs: bool = True,
) -> TrialRecord:
    """Turn a stored trial into a record, what was not stored is left empty."""
    attrs, state = trial.user_attrs, STATES[trial.state]
    asked, ended = attrs.get(ASKED, {}), attrs.get(ENDED, {}) if state.is_finished else {}
    config = dict(asked.get("config", {}))
    stored = stored_epochs(attrs)
    history = tuple(epoch.metrics for epoch in stored)
    best = selected_epoch(history, objective)
    has_checkpoint = state in (TrialState.COMPLETE, TrialState.PRUNED)
    checkpoint = stored[-1].checkpoint if has_checkpoint and stored else None
    point, replicate = replicate_of(trial)
    return TrialRecord(
        study=study,
        trial=trial.number,
        state=state,
        params=asked.get("params", {}),
        config=config,
        seed=int(config.get("seed", 0)),
        point=point,
        replicate=replicate,
        stop_reason=StopReason(ended["stop_reason"]) if ended else None,
        value=None if best is None else best.values[objective.metric],
        epoch=None if best is None else best.epoch,
        epochs_run=history[-1].epoch if history else 0,
        metrics={} if best is None else {**best.values, **attrs.get(EVALUATION, {})},
        history=history if epochs else (),
        checkpoint=None if checkpoint is None else layout.checkpoint(trial.number, checkpoint),
        kept=kept,
        busy_s=sum(epoch.busy_s for epoch in stored),
        run_id=run_id,
        started_at_s=_moment(asked.get("started_at_s")),
        finished_at_s=_moment(ended.get("finished_at_s")),
        attempts=int(attrs.get(ATTEMPTS, 1)),
        error=ended.get("error"),
    )

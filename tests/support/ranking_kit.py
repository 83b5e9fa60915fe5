"""Made-up records of trials, replicates included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.records import StopReason, TrialRecord, TrialState

C, P, F, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING


def record(
    trial: int,
    metrics: Mapping[str, float] | float | None,
    state: TrialState = C,
    *,
    point: int | None = None,
    replicate: int = 0,
    kept: bool = True,
) -> TrialRecord:
    """Make a trial; one number is its val_auc."""
    values = {"val_auc": metrics} if isinstance(metrics, float) else dict(metrics or {})
    held = bool(values) and state in (C, P)
    return TrialRecord(
        "s", trial, state, {"optimizer": "sgd"}, {}, point=trial if point is None else point, replicate=replicate,
        value=values.get("val_auc"), metrics=values, checkpoint=f"trials/{trial}" if held else None, kept=kept,
        epoch=2 if values else None, epochs_run=2, run_id=f"run{trial}", started_at_s=1.0 + trial,
        finished_at_s=4.0 + trial, stop_reason=StopReason.PRUNED if state is P else None,
    )  # fmt: skip


def table(*points: Sequence[float | TrialState | tuple[float, TrialState]]) -> list[TrialRecord]:
    """Make one row of replicates per point: a val_auc, a val_auc of a trial in a state, or a state without one."""
    records: list[TrialRecord] = []
    for point, row in enumerate(points):
        for replicate, cell in enumerate(row):
            value, state = cell if isinstance(cell, tuple) else (cell, C) if isinstance(cell, float) else (None, cell)
            records.append(record(len(records), value, state, point=point, replicate=replicate))
    return records

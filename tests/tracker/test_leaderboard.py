"""The leaderboard in MLflow ranks as ``study compare`` does, from what is kept of each record."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from ranking_kit import C, F, P, R
from recorders import CLOCK_S, Script

from study.analysis.ranking import rank_configurations, rank_trials
from study.config.search_config import DesignSpec, Objective, ReplicatesSpec
from study.config.study_config import StudySpec
from study.events import StudyEnded, TrialFinished, TrialStarted
from study.records import StudyOutcome, TrialRecord, TrialState
from tracking.content.leaderboard import as_csv, as_table, leaderboard, leaders
from tracking.outbox.outbox import Line
from tracking.outbox.study_state import StudyProgress

AUC = Objective(metric="val_auc", mode="max")
LATENCY = Objective(metric="latency_ms", mode="min")
PARAMETERS = Objective(metric="parameters", mode="min")
OBJECTIVES = [(AUC,), (LATENCY,), (AUC, LATENCY), (AUC, LATENCY, PARAMETERS)]


def _spec(objectives: Sequence[Objective], seeds: int = 1, *, search: bool = True) -> StudySpec:
    design = DesignSpec() if search else DesignSpec(kind="grid")
    return Script().spec().model_copy(
        update={"objective": objectives[0], "objectives": tuple(objectives) if len(objectives) > 1 else (),
                "design": design, "replicates": ReplicatesSpec(count=seeds)}
    )  # fmt: skip


def _records(random: random.Random, count: int, seeds: int) -> list[TrialRecord]:
    """Make trials of every kind, with many equals among them, and values that are missing or not finite."""
    records = []
    for trial in range(count):
        state = random.choices([C, P, F, R], [6, 2, 1, 1])[0]
        metrics = {
            "val_auc": random.choice([0.5, 0.6, 0.7, 0.8, 0.9, float("nan")]),
            "latency_ms": random.choice([1.0, 2.0, 3.0, float("inf")]),
            "parameters": random.choice([1e6, 2e6, 3e6]),
            "val_loss": random.choice([0.1, 0.2, 0.3]),
        }
        metrics = {name: value for name, value in metrics.items() if random.random() < 0.95}
        has_checkpoint = state in (C, P) and random.random() < 0.95
        records.append(_record(trial, state, metrics if state in (C, P) else {}, trial // seeds, trial % seeds,
                               has_checkpoint=has_checkpoint))  # fmt: skip
    return records


def _record(
    trial: int, state: TrialState, metrics: dict[str, float], point: int, replicate: int, *, has_checkpoint: bool = True
) -> TrialRecord:
    return TrialRecord(
        "faces", trial, state, {"optimizer": "sgd"}, {}, point=point, replicate=replicate, metrics=metrics,
        value=metrics.get("val_auc"), checkpoint=f"c/{trial}" if has_checkpoint else None,
        epoch=2 if metrics else None, started_at_s=CLOCK_S, finished_at_s=CLOCK_S + 5,
    )  # fmt: skip


def _progress(spec: StudySpec, records: Sequence[TrialRecord]) -> StudyProgress:
    """Report the trials in another order than that of their numbers."""
    progress, script = StudyProgress(), Script()
    events = [replace(script.start(), spec=spec), *(TrialStarted(record, 1, CLOCK_S) for record in records)]
    events += [
        TrialFinished(record, CLOCK_S + 9)
        for record in sorted(records, key=lambda record: -record.trial)
        if record.state != R
    ]
    for number, event in enumerate(events):
        progress.update(Line(number, event, None, 0))
    return progress


@pytest.mark.parametrize("objectives", OBJECTIVES)
@pytest.mark.parametrize("seeds, search", [(1, True), (3, True), (3, False)], ids=["trials", "by point", "by seed"])
@pytest.mark.parametrize(("seed", "count"), [(0, 60), (1, 41), (2, 23), (3, 2)])
def test_what_is_kept_of_trials_ranks_as_their_whole_records_do(
    objectives: tuple[Objective, ...], seed: int, count: int, seeds: int, *, search: bool
) -> None:
    records = _records(random.Random(seed), count, seeds)
    progress = _progress(_spec(objectives, seeds, search=search), records)
    headings, lines = leaderboard(progress, {}.get)
    ranked, shown = leaders(progress), [(line[0], line[headings.index("trial")]) for line in lines]
    if seeds == 1:
        rows = rank_trials(records, objectives)
        assert shown == [(row.rank, row.record.trial) for row in rows]
        assert [entry.record.trial for entry in ranked] == [row.record.trial for row in _first(rows, objectives)]
        return
    points = rank_configurations(records, objectives, seeds, by_pass=not search)
    assert shown == [(each.rank, trial.trial) for each in points for trial in each.trials]
    assert [entry.point for entry in ranked] == [each.point for each in _first(points, objectives)]
    means = [f"mean {objective.metric}" for objective in objectives]
    assert [[line[headings.index(name)] for name in means] for line in lines] == [
        [each.mean_of(objective.metric) for objective in objectives] for each in points for _ in each.trials
    ]


def _first(ranked: Sequence[Any], objectives: Sequence[Objective]) -> list[Any]:
    """Return the first five places, or of several objectives the Pareto front."""
    return [entry for entry in ranked if entry.rank and entry.rank <= (5 if len(objectives) == 1 else 1)]


def test_leaderboard_has_a_line_per_trial_in_the_order_of_the_ranking() -> None:
    records = [
        _record(0, C, {"val_auc": 0.7}, 0, 0),
        _record(1, C, {"val_auc": 0.9}, 1, 0),
        _record(2, F, {}, 2, 0, has_checkpoint=False),
        _record(3, R, {}, 3, 0, has_checkpoint=False),
    ]
    progress = _progress(_spec([AUC]), records)
    headings, lines = leaderboard(progress, {0: "a", 1: "b"}.get)
    rows = [dict(zip(headings, line, strict=True)) for line in lines]
    assert [(row["rank"], row["trial"], row["val_auc"], row["run_id"]) for row in rows] == [
        (1, 1, 0.9, "b"), (2, 0, 0.7, "a"), (None, 2, None, None), (None, 3, None, None),
    ]  # fmt: skip
    assert rows[0]["optimizer"] == "sgd"
    assert rows[0]["time_s"] == 5.0
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE", "FAILED", "RUNNING"]
    progress.update(Line(9, StudyEnded("faces", StudyOutcome.INTERRUPTED, None, {}, CLOCK_S), None, 0))
    assert [line[headings.index("state")] for line in leaderboard(progress, {}.get)[1]][-1] == "INTERRUPTED"


def test_leaderboard_of_replicates_has_the_means_of_their_configuration() -> None:
    aucs = [0.7, 0.8, 0.9, 0.95]
    records = [_record(n, C, {"val_auc": auc}, n // 2, n % 2) for n, auc in enumerate(aucs)]
    headings, lines = leaderboard(_progress(_spec([AUC], 2), records), {}.get)
    rows = [dict(zip(headings, line, strict=True)) for line in lines]
    assert [(row["rank"], row["mean val_auc"], row["n"], row["trial"]) for row in rows] == [
        (1, pytest.approx(0.925), 2, 2), (1, pytest.approx(0.925), 2, 3),
        (2, pytest.approx(0.75), 2, 0), (2, pytest.approx(0.75), 2, 1),
    ]  # fmt: skip


def test_table_is_read_by_pandas_and_infinity_is_not_lost() -> None:
    records = [_record(0, C, {"latency_ms": float("inf")}, 0, 0), _record(1, C, {"latency_ms": 2.0}, 1, 0)]
    lines = leaderboard(_progress(_spec([LATENCY]), records), {}.get)
    at = lines[0].index("latency_ms")
    assert [row[at] for row in json.loads(as_table(lines))["data"]] == [2.0, "inf"], "JSON has no infinity"
    records = [replace(record, seed=2829969414831400022) for record in records]
    table = json.loads(as_table(leaderboard(_progress(_spec([LATENCY]), records), {}.get)))
    assert table["data"][0][table["columns"].index("seed")] == "2829969414831400022", "browsers round long numbers"
    for table in (
        pd.read_json(io.StringIO(as_table(lines)), orient="split"),
        pd.read_csv(io.StringIO(as_csv(lines))),
    ):
        assert list(table.columns) == lines[0]
        assert list(table["latency_ms"]) == [2.0, float("inf")]

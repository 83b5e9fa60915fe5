"""The columns of ``study compare``, and the tables and JSON objects made of them.

To add a column, add one entry to COLUMNS: every format and both kinds of rows, trials and configurations, read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.output import STATE_STYLES, duration, number
from cli.queries.field_getters import FieldGetter, configuration_fields, trial_fields
from cli.queries.ranking import Ranking
from cli.views.tables import Column, TableModel
from study.analysis.ranking import Configuration, RankedTrial
from study.analysis.trial_filter import Value
from study.records import TrialRecord

_ABSENT: Final = object()
"""The value of a cell that a JSON object leaves out."""


@dataclass(frozen=True)
class LeaderboardColumn:
    """A column of the ranking.

    Attributes:
        heading: its heading in tables; None for what only JSON has.
        key: its key in JSON; None for what only tables have. A configuration has the keys of its best trial too.
        trial: gets its value for a ranked trial, where trials have the column.
        configuration: gets its value for a configuration, where configurations have the column.
        shown: whether tables have it; JSON always has.
        right, text, style, exact, hidden, folds: as in ``Column``.
    """

    heading: str | Callable[[Ranking], str] | None
    key: str | None = None
    trial: Callable[[Ranking, RankedTrial], Any] | None = None
    configuration: Callable[[Ranking, Configuration], Any] | None = None
    shown: Callable[[Ranking], bool] = lambda ranking: True
    right: bool = True
    text: Callable[[Any], str] = number
    style: Callable[[Any], str] | None = None
    exact: str | None = ""
    hidden: bool = False
    folds: bool = False

    def table_column(self, ranking: Ranking, values: Sequence[Any]) -> Column:
        """Return the column of a table."""
        heading = self.heading(ranking) if callable(self.heading) else self.heading
        assert heading is not None
        return Column(heading, values, self.right, self.text, self.style, self.exact, self.hidden, self.folds)


def spent_s(record: TrialRecord) -> float | None:
    """Return the time from a trial's start to its end."""
    return record.finished_at_s - record.started_at_s if record.finished_at_s and record.started_at_s else None


def _spent_s(configuration: Configuration) -> float | None:
    seconds = [spent for trial in configuration.trials if (spent := spent_s(trial)) is not None]
    return sum(seconds) if seconds else None


def _difference(ranking: Ranking, configuration: Configuration) -> tuple[float, float | None] | None:
    """Return the difference to the baseline and its 95 % margin, where there is a baseline and this is another."""
    base = ranking.base
    if base is None or base is configuration:
        return None
    if difference := ranking.baseline_differences.get(configuration.point):
        return difference[0], margin if math.isfinite(
            margin := max(difference[2] - difference[0], difference[0] - difference[1])
        ) else None
    from study.analysis.verdict_by_values import mean_difference

    mean = mean_difference(base, configuration)
    return None if mean is None else (mean, None)


def _rank_interval(ranking: Ranking, key: int | None, at: int) -> object:
    return ranking.rank_intervals[key][at] if key is not None and key in ranking.rank_intervals else _ABSENT


def _judged_trial(ranking: Ranking, row: RankedTrial) -> int | None:
    """Return the number of a trial where trials were judged, and not configurations."""
    return None if ranking.configurations else row.record.trial


def _ranks(ranking: Ranking, key: int) -> str:
    low, high = ranking.rank_intervals.get(key, ("-", "-"))
    return str(low) if low == high else f"{low}-{high}"


def _difference_text(ranking: Ranking, configuration: Configuration) -> str:
    if configuration is ranking.base:
        return "baseline"
    if (difference := _difference(ranking, configuration)) is None:
        return "-"
    return f"{difference[0]:+.4f}" + ("" if difference[1] is None else f" +-{difference[1]:.4f}")


def _or_absent(difference: tuple[float, float | None] | None, at: int) -> object:
    return _ABSENT if difference is None else difference[at]


METRICS, ASKED, PARAMS = (LeaderboardColumn(name) for name in ("metrics", "asked", "params"))
"""Where the metrics that are ranked by, the columns asked for by ``--columns`` and the searched values stand."""

COLUMNS: Sequence[LeaderboardColumn] = (
    LeaderboardColumn("rank", "rank", trial=lambda _, row: row.rank, configuration=lambda _, each: each.rank),
    LeaderboardColumn(
        "may be", trial=lambda ranking, row: _ranks(ranking, row.record.trial),
        configuration=lambda ranking, each: _ranks(ranking, each.point),
        shown=lambda ranking: bool(ranking.rank_intervals), right=False, exact=None,
    ),
    LeaderboardColumn(
        "rank_low", "rank_low", trial=lambda ranking, row: _rank_interval(ranking, _judged_trial(ranking, row), 0),
        configuration=lambda ranking, each: _rank_interval(ranking, each.point, 0),
        shown=lambda ranking: bool(ranking.rank_intervals), hidden=True,
    ),
    LeaderboardColumn(
        "rank_high", "rank_high", trial=lambda ranking, row: _rank_interval(ranking, _judged_trial(ranking, row), 1),
        configuration=lambda ranking, each: _rank_interval(ranking, each.point, 1),
        shown=lambda ranking: bool(ranking.rank_intervals), hidden=True,
    ),
    LeaderboardColumn(
        "study", "study", trial=lambda _, row: row.record.study, configuration=lambda _, each: each.study,
        shown=lambda ranking: len(ranking.studies) > 1, right=False, folds=True,
    ),
    LeaderboardColumn("trial", "trial", trial=lambda _, row: row.record.trial),
    LeaderboardColumn("point", configuration=lambda _, each: each.point),
    LeaderboardColumn(
        "point", "point", trial=lambda _, row: row.record.point, shown=lambda ranking: ranking.replicates > 1
    ),
    LeaderboardColumn(
        lambda ranking: ranking.seed_word, trial=lambda ranking, row: ranking.seed_of(row.record),
        shown=lambda ranking: ranking.replicates > 1,
    ),
    LeaderboardColumn(
        "state", trial=lambda _, row: row.record.state.value, configuration=lambda _, each: each.state.value,
        right=False, style=lambda state: STATE_STYLES[state],
    ),
    LeaderboardColumn(
        "seeds", configuration=lambda _, each: f"{each.complete}/{each.planned}", right=False, exact=None
    ),
    LeaderboardColumn("complete", "complete", configuration=lambda _, each: each.complete, right=False, hidden=True),
    LeaderboardColumn("planned", "replicates", configuration=lambda _, each: each.planned, right=False, hidden=True),
    METRICS,
    LeaderboardColumn(
        "sd", "sd", configuration=lambda _, each: each.sd, shown=lambda ranking: not ranking.objective_list
    ),
    LeaderboardColumn(
        "vs baseline", configuration=_difference_text, shown=lambda ranking: ranking.base is not None, exact=None
    ),
    LeaderboardColumn(
        "difference", "difference", configuration=lambda ranking, each: _or_absent(_difference(ranking, each), 0),
        shown=lambda ranking: ranking.base is not None, right=False, hidden=True,
    ),
    LeaderboardColumn(
        "difference_margin", "difference_margin",
        configuration=lambda ranking, each: _or_absent(_difference(ranking, each), 1),
        shown=lambda ranking: ranking.base is not None, right=False, hidden=True,
    ),
    ASKED,
    LeaderboardColumn("epoch", "epoch", trial=lambda _, row: row.record.epoch),
    LeaderboardColumn("best", configuration=lambda ranking, each: each.best and each.best.metrics[ranking.metric]),
    LeaderboardColumn("trial", configuration=lambda _, each: None if each.best is None else each.best.trial),
    PARAMS,
    LeaderboardColumn(
        "time", trial=lambda _, row: spent_s(row.record), configuration=lambda _, each: _spent_s(each),
        text=duration, exact="time_s",
    ),
    LeaderboardColumn(None, "state", trial=lambda _, row: row.record.state.value),
    LeaderboardColumn(
        None, "stop_reason", trial=lambda _, row: row.record.stop_reason and row.record.stop_reason.value
    ),
    LeaderboardColumn(None, "run_id", trial=lambda _, row: row.record.run_id),
    LeaderboardColumn(None, "metric", trial=lambda ranking, _: ranking.metric),
    LeaderboardColumn(None, "value", trial=lambda _, row: row.value),
    LeaderboardColumn(None, "checkpoint", trial=lambda _, row: row.record.checkpoint),
    LeaderboardColumn(
        None, "kept", trial=lambda _, row: None if row.record.checkpoint is None else row.record.kept
    ),
    LeaderboardColumn(None, "params", trial=lambda _, row: dict(row.record.params)),
    LeaderboardColumn(None, "metrics", trial=lambda _, row: dict(row.record.metrics)),
    LeaderboardColumn(None, "seed", trial=lambda ranking, row: ranked_trial_fields(ranking, row)("seed")),
    LeaderboardColumn(None, "drawn_seed", trial=lambda _, row: row.record.seed),
    LeaderboardColumn(None, "replicate", trial=lambda _, row: row.record.replicate),
    LeaderboardColumn(None, "error", trial=lambda _, row: row.record.error),
    LeaderboardColumn(
        None, "objectives",
        trial=lambda ranking, row: {metric: row.record.metrics.get(metric) for metric in ranking.metrics}
        if ranking.objective_list else _ABSENT,
        configuration=lambda ranking, each: {metric: each.mean_of(metric) for metric in ranking.metrics}
        if ranking.objective_list else _ABSENT,
    ),
    LeaderboardColumn(None, "n", configuration=lambda _, each: each.n),
    LeaderboardColumn(None, "mean", configuration=lambda _, each: each.mean),
    LeaderboardColumn(None, "se", configuration=lambda _, each: each.se),
    LeaderboardColumn(None, "whole", configuration=lambda _, each: each.is_whole),
    LeaderboardColumn(None, "trials", configuration=lambda _, each: [trial.trial for trial in each.trials]),
)  # fmt: skip
"""Every column, in the order of the tables; JSON has those with a key, ``seed`` as its study file numbers it."""


def trial_table(ranking: Ranking, rows: Sequence[RankedTrial], asked: Sequence[str]) -> TableModel:
    """Return the table of single trials, with the columns that were asked for by name."""
    records = [row.record for row in rows]
    groups = {
        METRICS: [_number_column(name, [record.metrics.get(name) for record in records]) for name in ranking.metrics],
        ASKED: _asked_columns([ranked_trial_fields(ranking, row) for row in rows], asked),
        PARAMS: _param_columns(records, asked),
    }
    columns = [
        column.table_column(ranking, [column.trial(ranking, row) for row in rows]) if column.trial else column
        for column in COLUMNS
        if column in groups or (column.trial and column.heading and column.shown(ranking))
    ]
    return TableModel(_title(ranking, len(ranking.rows), "trials by"), _with_groups(columns, groups), ranking.notes)


def configuration_table(ranking: Ranking, shown: Sequence[Configuration], asked: Sequence[str]) -> TableModel:
    """Return the table of configurations: means over the seeds that count, and the best trial of each."""
    groups = {
        METRICS: [_number_column(name, [each.mean_of(name) for each in shown]) for name in ranking.metrics],
        ASKED: _asked_columns([configuration_fields(each) for each in shown], asked),
        PARAMS: _param_columns([each.trials[0] for each in shown], asked),
    }
    columns = [
        column.table_column(ranking, [_cell(column.configuration(ranking, each)) for each in shown])
        if column.configuration else column
        for column in COLUMNS
        if column in groups or (column.configuration and column.heading and column.shown(ranking))
    ]  # fmt: skip
    few = "those that ran fewer seeds to the end come after those that ran them all"
    notes = [few] if any(each.rank and not each.is_whole for each in shown) else []
    title = _title(ranking, len(ranking.configurations), "configurations by mean")
    return TableModel(title, _with_groups(columns, groups), (*ranking.notes, *notes))


def ranked_trial_fields(ranking: Ranking, row: RankedTrial) -> FieldGetter:
    """Return what gets the fields of a ranked trial by name."""
    return trial_fields(row.record, ranking.seeds_of_studies or {}, row.rank)


def trial_json(ranking: Ranking, row: RankedTrial) -> dict[str, Any]:
    """Return a ranked trial as a JSON object; ``seed`` is that of its study file, ``drawn_seed`` what it led to."""
    cells = {column.key: column.trial(ranking, row) for column in COLUMNS if column.key and column.trial}
    return {key: value for key, value in cells.items() if value is not _ABSENT}


def configuration_json(ranking: Ranking, configuration: Configuration) -> dict[str, Any]:
    """Return a ranked configuration as a JSON object: its best trial, and the figures over its replicates.

    With several objectives ``objectives`` are the means.
    """
    best = configuration.best or configuration.trials[0]
    row = RankedTrial(configuration.rank, best.metrics.get(ranking.metric), best)
    cells = {
        column.key: column.configuration(ranking, configuration)
        for column in COLUMNS
        if column.key and column.configuration
    }
    return {**trial_json(ranking, row), **{key: value for key, value in cells.items() if value is not _ABSENT}}


def columns_json(fields: FieldGetter, asked: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Return what was asked for by name as a part of a JSON object; nothing where nothing was."""
    return {"columns": {name: fields(name) for name in asked}} if asked else {}


def _with_groups(
    columns: Sequence[Column | LeaderboardColumn], groups: dict[LeaderboardColumn, list[Column]]
) -> list[Column]:
    """Put the groups in their places; no heading stands there twice, as what is asked for may be shown anyway."""
    shown = {
        column.heading
        for entry in columns
        for column in ([entry] if isinstance(entry, Column) else [] if entry is ASKED else groups[entry])
        if not column.hidden
    }
    asked = [column for column in groups[ASKED] if column.heading not in shown]
    replaced = {column.heading for column in asked}
    filled: list[Column] = []
    for entry in columns:
        if isinstance(entry, LeaderboardColumn):
            filled += asked if entry is ASKED else groups[entry]
        elif not (entry.hidden and entry.heading in replaced):
            filled.append(entry)
    return filled


def _asked_columns(rows: Sequence[FieldGetter], names: Sequence[str]) -> list[Column]:
    columns = []
    for name in names:
        values = [fields(name) for fields in rows]
        numeric = all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
        )
        columns.append(Column(name, values, right=numeric, folds=not numeric))
    return columns


def _param_columns(records: Sequence[TrialRecord], asked: Sequence[str]) -> list[Column]:
    names = dict.fromkeys(name for record in records for name in record.params if name not in asked)
    return [Column(name, [record.params.get(name) for record in records], folds=True) for name in names]


def _number_column(heading: str, values: Sequence[Any]) -> Column:
    return Column(heading, values, right=True)


def _cell(value: Any) -> Any:
    return None if value is _ABSENT else value


def _title(ranking: Ranking, count: int, what: str) -> str:
    by = " and ".join(f"{each.metric} ({each.mode})" for each in ranking.objective_list) or ranking.metric
    if ranking.where is None and ranking.total is not None and not ranking.configurations:
        count = max(count, ranking.total)
    front = "; rank 1 is the front" if ranking.objective_list else ""
    where = "" if ranking.where is None else f"; where {' '.join(ranking.where.split())}"
    some = what if ranking.where is not None and ranking.is_part else f"{count} {what}"  # how many is not known
    return f"{ranking.study}: {some} {by}{front}{where}"

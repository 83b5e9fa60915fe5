"""Lay out rankings of trials and configurations, as sheets and as JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.field_getters import Ask, of_configuration, of_trial
from cli.output import STATE_STYLES, duration
from cli.ranking import Ranking
from cli.views.tables import Column, TableModel
from study.analysis.ranking import Configuration, RankedTrial
from study.analysis.trial_filter import Value
from study.records import TrialRecord


def trial_sheet(found: Ranking, rows: Sequence[RankedTrial], more: Sequence[str]) -> TableModel:
    """Return single trials with their point and seed where there are replicates, and further columns by name."""
    records = [row.record for row in rows]
    params = list(dict.fromkeys(key for one in records for key in one.params if key not in more))
    asks = [asking(found, row) for row in rows]
    whose = []
    if found.replicates > 1:
        whose = [_numbers("point", [one.point for one in records]),
                 _numbers(found.seed_word, [found.seed_of(one) for one in records])]  # fmt: skip
    before = [
        _numbers("rank", [row.rank for row in rows]),
        *_study_column(found, [one.study for one in records]),
        _numbers("trial", [one.trial for one in records]),
        *whose,
        _state_column([one.state.value for one in records]),
        *(_numbers(key, [one.metrics.get(key) for one in records]) for key in found.metrics),
    ]
    after = [
        _numbers("epoch", [one.epoch for one in records]),
        *(Column(key, [one.params.get(key) for one in records], folds=True) for key in params),
        _time_column([spent_s(one) for one in records]),
    ]
    columns = _together(before, _asked_columns(asks, more), after)
    return TableModel(_title(found, len(found.rows), "trials by"), columns, found.notes)


def configuration_sheet(found: Ranking, shown: Sequence[Configuration], more: Sequence[str]) -> TableModel:
    """Return configurations: means over the seeds that count, and the best trial of each."""
    params = list(dict.fromkeys(key for one in shown for key in one.trials[0].params if key not in more))
    best = [one.best for one in shown]
    spent = [[seconds for trial in one.trials if (seconds := spent_s(trial)) is not None] for one in shown]
    before = [
        _numbers("rank", [one.rank for one in shown]),
        *_study_column(found, [one.study for one in shown]),
        _numbers("point", [one.point for one in shown]),
        _state_column([one.state.value for one in shown]),
        Column("seeds", [f"{one.complete}/{one.planned}" for one in shown], exact=None),
        Column("complete", [one.complete for one in shown], hidden=True),
        Column("planned", [one.planned for one in shown], hidden=True),
        *(_numbers(key, [one.mean_of(key) for one in shown]) for key in found.metrics),
        *([] if found.objective_list else [_numbers("sd", [one.sd for one in shown])]),
        *_difference_columns(found, shown),
    ]
    after = [
        _numbers("best", [None if one is None else one.metrics[found.metric] for one in best]),
        _numbers("trial", [None if one is None else one.trial for one in best]),
        *(Column(key, [one.trials[0].params.get(key) for one in shown], folds=True) for key in params),
        _time_column([sum(one) if one else None for one in spent]),
    ]
    columns = _together(before, _asked_columns([of_configuration(one) for one in shown], more), after)
    few = "those that ran fewer seeds to the end come after those that ran them all"
    notes = [few] if any(one.rank and not one.is_whole for one in shown) else []
    return TableModel(
        _title(found, len(found.configurations), "configurations by mean"), columns, (*found.notes, *notes)
    )


def asking(found: Ranking, row: RankedTrial) -> Ask:
    """Return what answers for a ranked trial."""
    return of_trial(row.record, found.seeds_of_studies or {}, row.rank)


def trial_json(row: RankedTrial, found: Ranking) -> dict[str, Any]:
    """Return a ranked trial as one JSON object; ``seed`` is that of its study file, ``drawn_seed`` what it led to."""
    record = row.record
    together = {"objectives": {key: record.metrics.get(key) for key in found.metrics}} if found.objective_list else {}
    return {
        "study": record.study,
        "trial": record.trial,
        "rank": row.rank,
        "state": record.state.value,
        "stop_reason": record.stop_reason.value if record.stop_reason else None,
        "run_id": record.run_id,
        "metric": found.metric,
        "value": row.value,
        "epoch": record.epoch,
        "checkpoint": record.checkpoint,
        "kept": None if record.checkpoint is None else record.kept,
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "seed": asking(found, row)("seed"),
        "drawn_seed": record.seed,
        "replicate": record.replicate,
        "point": record.point,
        "error": record.error,
        **together,
    }


def configuration_json(one: Configuration, found: Ranking) -> dict[str, Any]:
    """Return a ranked configuration as one JSON object: its best trial, and the figures over its replicates.

    With several objectives ``objectives`` are the means.
    """
    best = one.best or one.trials[0]
    row = trial_json(RankedTrial(one.rank, best.metrics.get(found.metric), best), found)
    means = {"objectives": {key: one.mean_of(key) for key in found.metrics}} if found.objective_list else {}
    return {
        **row,
        **means,
        "replicates": one.planned,
        "complete": one.complete,
        "n": one.n,
        "mean": one.mean,
        "sd": one.sd,
        "se": one.se,
        "whole": one.is_whole,
        "trials": [trial.trial for trial in one.trials],
        **_difference_json(found.base, one),
    }


def columns_json(ask: Ask, more: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Return what was asked for by name as a part of a JSON object; nothing where nothing was."""
    return {"columns": {name: ask(name) for name in more}} if more else {}


def spent_s(record: TrialRecord) -> float | None:
    """Return the time from a trial's start to its end."""
    return record.finished_at_s - record.started_at_s if record.finished_at_s and record.started_at_s else None


def _difference_columns(found: Ranking, shown: Sequence[Configuration]) -> list[Column]:
    """Return the difference to the baseline with its 95 % margin, where there is a baseline."""
    base = found.base
    if base is None:
        return []
    from study.analysis.significance import difference_to

    pairs = [None if one is base else difference_to(base, one) for one in shown]
    texts = ["baseline" if one is base else _signed(pair) for one, pair in zip(shown, pairs, strict=True)]
    return [
        Column("vs baseline", texts, right=True, exact=None),
        Column("difference", [pair and pair[0] for pair in pairs], hidden=True),
        Column("difference_margin", [pair and pair[1] for pair in pairs], hidden=True),
    ]


def _signed(pair: tuple[float, float | None] | None) -> str:
    if pair is None:
        return "-"
    return f"{pair[0]:+.4f}" + ("" if pair[1] is None else f" +-{pair[1]:.4f}")


def _difference_json(base: Configuration | None, one: Configuration) -> dict[str, float | None]:
    if base is None or one is base:
        return {}
    from study.analysis.significance import difference_to

    found = difference_to(base, one)
    return {} if found is None else {"difference": found[0], "difference_margin": found[1]}


def _together(before: Sequence[Column], asked: Sequence[Column], after: Sequence[Column]) -> list[Column]:
    """Return all columns, none of them twice: what is asked for may stand there anyway, or hidden."""
    fixed = {one.heading for one in (*before, *after) if not one.hidden}
    asked = [one for one in asked if one.heading not in fixed]
    shown = {one.heading for one in asked}
    return [*(one for one in before if one.heading not in shown), *asked, *after]


def _asked_columns(asks: Sequence[Ask], names: Sequence[str]) -> list[Column]:
    found = []
    for name in names:
        values = [ask(name) for ask in asks]
        numeric = all(one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in values)
        found.append(Column(name, values, right=numeric, folds=not numeric))
    return found


def _numbers(heading: str, values: Sequence[Any]) -> Column:
    return Column(heading, values, right=True)


def _study_column(found: Ranking, names: Sequence[str]) -> list[Column]:
    return [Column("study", names, folds=True)] if len(found.studies) > 1 else []


def _state_column(states: Sequence[str]) -> Column:
    return Column("state", states, style=lambda one: STATE_STYLES[one])


def _time_column(seconds: Sequence[float | None]) -> Column:
    return Column("time", seconds, right=True, text=duration, exact="time_s")


def _title(found: Ranking, count: int, what: str) -> str:
    by = " and ".join(f"{one.metric} ({one.mode})" for one in found.objective_list) or found.metric
    if found.where is None and found.total is not None and not found.configurations:
        count = max(count, found.total)
    front = "; rank 1 is the front" if found.objective_list else ""
    where = "" if found.where is None else f"; where {' '.join(found.where.split())}"
    some = what if found.where is not None and found.is_part else f"{count} {what}"  # how many is not known
    return f"{found.study}: {some} {by}{front}{where}"

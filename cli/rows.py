"""Lay out rankings of trials and configurations, as rows of a table and as JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.output import STATE_STYLES, duration, make_table, number
from cli.ranked import Ranked
from study.configurations import Configuration
from study.ranking import RankedRow
from study.records import TrialRecord

if TYPE_CHECKING:
    from rich.table import Table


def trial_table(found: Ranked, rows: Sequence[RankedRow], more: Sequence[str]) -> Table:
    """Return a table of single trials, with their point and seed where there are replicates."""
    whose = ["point", found.seed_word] if found.replicates > 1 else []
    params = list(dict.fromkeys(key for row in rows for key in row.record.params))
    right = ["rank", "trial", *whose, *found.metrics, *more, "epoch", "time"]
    headings = ["rank", "trial", *whose, "state", *found.metrics, *more, "epoch", *params, "time"]
    cells = []
    for row in rows:
        record = row.record
        replicate = [str(record.point), str(found.seed_of(record))] if whose else []
        values = [number(record.metrics.get(key)) for key in (*found.metrics, *more)]
        searched = [number(record.params.get(key)) for key in params]
        cells.append([_rank(row.rank), str(record.trial), *replicate, _state(record.state.value), *values,
                      number(record.epoch), *searched, duration(_spent_s(record))])  # fmt: skip
    return _titled(make_table(headings, cells, right=right), found, f"{len(found.rows)} trials by")


def configuration_table(found: Ranked, shown: Sequence[Configuration], more: Sequence[str]) -> Table:
    """Return a table of configurations: means over the seeds that count, and the best trial of each."""
    params = list(dict.fromkeys(key for one in shown for key in one.trials[0].params))
    base = found.base
    figures = [*(["sd"] if not found.aims else []), *(["vs baseline"] if base else []), *more]
    right = ["rank", "point", *found.metrics, *figures, "best", "trial", "time"]
    headings = ["rank", "point", "state", "seeds", *found.metrics, *figures, "best", "trial", *params, "time"]
    cells = []
    for one in shown:
        means = [number(one.mean_of(key)) for key in found.metrics]
        spread = [] if found.aims else [number(one.sd)]
        others = [*([_difference(base, one)] if base else []), *(number(one.mean_of(key)) for key in more)]
        best = ["-", "-"] if one.best is None else [number(one.best.metrics[found.metric]), str(one.best.trial)]
        searched = [number(one.trials[0].params.get(key)) for key in params]
        spent = [seconds for trial in one.trials if (seconds := _spent_s(trial)) is not None]
        cells.append([_rank(one.rank), str(one.point), _state(one.state.value), f"{one.complete}/{one.planned}", *means,
                      *spread, *others, *best, *searched,
                      duration(sum(spent) if spent else None)])  # fmt: skip
    what = f"{len(found.configurations)} configurations by mean"
    return _titled(make_table(headings, cells, right=right), found, what)


def trial_json(row: RankedRow, found: Ranked) -> dict[str, Any]:
    """Return a ranked trial as one JSON object."""
    record = row.record
    together = {"objectives": {key: record.metrics.get(key) for key in found.metrics}} if found.aims else {}
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
        "kept": record.kept,
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "seed": record.seed,
        "replicate": record.replicate,
        "point": record.point,
        "error": record.error,
        **together,
    }


def configuration_json(one: Configuration, found: Ranked) -> dict[str, Any]:
    """Return a ranked configuration as one JSON object: its best trial, and the figures over its replicates.

    With several objectives ``objectives`` are the means.
    """
    best = one.best or one.trials[0]
    row = trial_json(RankedRow(one.rank, best.metrics.get(found.metric), best), found)
    means = {"objectives": {key: one.mean_of(key) for key in found.metrics}} if found.aims else {}
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


def _difference(base: Configuration, one: Configuration) -> str:
    """Return the difference to the baseline with its 95 % margin."""
    from study.paired import difference_to

    found = None if one is base else difference_to(base, one)
    if found is None:
        return "baseline" if one is base else "-"
    return f"{found[0]:+.4f}" + ("" if found[1] is None else f" +-{found[1]:.4f}")


def _difference_json(base: Configuration | None, one: Configuration) -> dict[str, float | None]:
    if base is None or one is base:
        return {}
    from study.paired import difference_to

    found = difference_to(base, one)
    return {} if found is None else {"difference": found[0], "difference_margin": found[1]}


def _titled(table: Table, found: Ranked, what: str) -> Table:
    by = " and ".join(f"{one.metric} ({one.mode})" for one in found.aims) or found.metric
    table.title = f"{found.study}: {what} {by}{'; rank 1 is the front' if found.aims else ''}"
    table.title_justify = "left"
    return table


def _rank(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def _state(state: str) -> str:
    return f"[{STATE_STYLES[state]}]{state}[/]"


def _spent_s(record: TrialRecord) -> float | None:
    return record.finished_at_s - record.started_at_s if record.finished_at_s and record.started_at_s else None

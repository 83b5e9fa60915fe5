"""Lay out the ranking of a study's trials as a table that MLflow's pages show, and as CSV; pure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping

from tracking.record.progress import Progress, Row
from tracking.telling.content import INTERRUPTED
from tracking.telling.standings import Standing, has_replicates, standings

TABLE, CSV = "leaderboard.json", "leaderboard.csv"
_LOGGED = "mlflow.loggedArtifacts"
_DIGITS = 3
_MOST_EXACT = 2**53
Cell = bool | int | float | str | None
Lines = tuple[list[str], list[list[Cell]]]


def leaderboard(progress: Progress, run_id: Callable[[int], str | None]) -> Lines:
    """Return headings and a line per trial, best first; with replicates those of a configuration together.

    There a rank, a mean and the number ``n`` of trials behind it are those of the configuration.
    """
    if progress.study is None:
        return [], []
    spec, replicates = progress.study.spec, has_replicates(progress)
    metrics, names = [one.metric for one in spec.aims], list(spec.searched())
    means = [*(f"mean {one}" for one in metrics), "n"] if replicates else []
    # MLflow shows the first six columns, the others to the right of them.
    headings = ["rank", *means, "trial", *metrics, "state", *names, "epoch", "point", "replicate", "seed"]
    lines = [
        [one.rank, *(_means(one, len(metrics)) if replicates else []), *_trial(row, progress, names), run_id(row.trial)]
        for one in standings(progress)
        for row in one.rows
    ]
    return [*headings, "stop_reason", "time_s", "run_id"], lines


def as_table(lines: Lines) -> str:
    """Return the table as ``mlflow.log_table`` writes one; numbers that a browser would change become a text."""
    headings, rows = lines
    cells = [[_lasting(cell) for cell in row] for row in rows]
    return json.dumps({"columns": headings, "data": cells}, ensure_ascii=False, allow_nan=False)


def as_csv(lines: Lines) -> str:
    """Return the table as CSV."""
    headings, rows = lines
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue()


def table_tag(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tag by which MLflow's pages know the table, beside those that are there already."""
    entry = {"path": TABLE, "type": "table"}
    known = json.loads(tags.get(_LOGGED) or "[]")
    return {_LOGGED: json.dumps(known if entry in known else [*known, entry])}


def _means(one: Standing, aims: int) -> list[Cell]:
    return [*(one.values or (None,) * aims), one.n]


def _trial(row: Row, progress: Progress, names: list[str]) -> Iterator[Cell]:
    is_over = row.trial in progress.finished or progress.outcome is None
    yield row.trial
    yield from (None if math.isnan(value) else value for value in row.values)
    yield row.state.value if is_over else INTERRUPTED
    yield from (row.params.get(name) for name in names)
    yield from (row.epoch, row.point, row.replicate, row.seed)
    yield row.reason.value if row.reason else None
    yield None if row.spent_s is None else round(row.spent_s, _DIGITS)


def _lasting(cell: Cell) -> Cell:
    is_infinite = isinstance(cell, float) and not math.isfinite(cell)
    is_long = isinstance(cell, int) and abs(cell) > _MOST_EXACT
    return str(cell) if is_infinite or is_long else cell

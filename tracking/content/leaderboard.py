"""The ranking of a study's trials as files of its parent run: a table for MLflow's pages and CSV; pure."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from study.analysis.ranking import Configuration, RankedTrial, rank_configurations, rank_trials
from study.records import TrialRecord
from study.utils.text import printable
from tracking.content.mlflow_tags import LOGGED_ARTIFACTS
from tracking.content.tags_and_metrics import INTERRUPTED
from tracking.outbox.study_state import StudyProgress

Entry = RankedTrial | Configuration


def ranking(progress: StudyProgress) -> Sequence[Entry]:
    """Rank the trials, or with replicates the configurations, as ``study compare`` does."""
    if progress.study is None:
        return []
    spec, records = progress.study.spec, [*progress.finished.values(), *progress.running.values()]
    replicates = len(spec.replicates.numbers)
    if replicates == 1:
        return rank_trials(records, spec.objective_list)
    return rank_configurations(records, spec.objective_list, replicates, by_pass=spec.design.kind != "search")


def leaders(progress: StudyProgress, most: int = 5) -> list[Entry]:
    """Return the first places of the ranking; of several objectives the whole Pareto front."""
    if progress.study is None:
        return []
    last = most if len(progress.study.spec.objective_list) == 1 else 1
    return [entry for entry in ranking(progress) if entry.rank is not None and entry.rank <= last]


TABLE, CSV = "leaderboard.json", "leaderboard.csv"
_DIGITS = 3
_MOST_EXACT = 2**53
Cell = bool | int | float | str | None
Lines = tuple[list[str], list[list[Cell]]]


def leaderboard(progress: StudyProgress, run_id: Callable[[int], str | None]) -> Lines:
    """Return headings and a line per trial, best first; with replicates those of a configuration together.

    There a rank, a mean and the number ``n`` of trials behind it are those of the configuration.
    """
    if progress.study is None:
        return [], []
    spec, names = progress.study.spec, list(progress.study.spec.searched())
    metrics = [objective.metric for objective in spec.objective_list]
    means = [*(f"mean {metric}" for metric in metrics), "n"] if len(spec.replicates.numbers) > 1 else []
    # MLflow shows the first six columns, the others to the right of them.
    headings = ["rank", *means, "trial", *metrics, "state", *names, "epoch", "point", "replicate", "seed"]
    lines = []
    for entry in ranking(progress):
        figures: list[Cell] = [entry.rank]
        if isinstance(entry, Configuration):
            figures += [*map(entry.mean_of, metrics), entry.n]
        trials = entry.trials if isinstance(entry, Configuration) else (entry.record,)
        lines += [[*figures, *_trial(trial, progress, metrics, names), run_id(trial.trial)] for trial in trials]
    return [*headings, "stop_reason", "time_s", "run_id"], lines


def as_table(lines: Lines) -> str:
    """Return the table as ``mlflow.log_table`` writes one; numbers that a browser would change become a text."""
    headings, rows = lines
    cells = [[_lasting(cell) for cell in row] for row in rows]
    return json.dumps({"columns": [*map(printable, headings)], "data": cells}, ensure_ascii=False, allow_nan=False)


def as_csv(lines: Lines) -> str:
    """Return the table as CSV."""
    headings, rows = lines
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(printable, headings))
    writer.writerows([printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def table_tag(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tag by which MLflow's pages know the table, beside those that are there already."""
    entry = {"path": TABLE, "type": "table"}
    known = json.loads(tags.get(LOGGED_ARTIFACTS) or "[]")
    return {LOGGED_ARTIFACTS: json.dumps(known if entry in known else [*known, entry])}


def _trial(record: TrialRecord, progress: StudyProgress, metrics: list[str], names: list[str]) -> Iterator[Cell]:
    is_over = record.trial in progress.finished or progress.outcome is None
    start_s, end_s = record.started_at_s, record.finished_at_s
    yield record.trial
    for metric in metrics:
        value = record.metrics.get(metric)
        yield None if value is None or math.isnan(value) else value
    yield record.state.value if is_over else INTERRUPTED
    yield from (record.params.get(name) for name in names)
    yield from (record.epoch, record.point, record.replicate, record.seed)
    yield record.stop_reason.value if record.stop_reason else None
    yield round(end_s - start_s, _DIGITS) if start_s and end_s else None


def _lasting(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return printable(cell)
    is_infinite = isinstance(cell, float) and not math.isfinite(cell)
    is_long = isinstance(cell, int) and abs(cell) > _MOST_EXACT
    return str(cell) if is_infinite or is_long else cell

"""Rank what is kept of trials as ``study compare`` ranks their records; pure."""

from __future__ import annotations

import csv
import io
import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from study.config.search_config import Objective
from study.records import TrialState
from tracking.content.tags_and_metrics import INTERRUPTED
from tracking.outbox.study_state import StudyProgress, TrialSnapshot

Costs = tuple[float, ...]
"""What is the less the better, in the order of the objectives."""


@dataclass(frozen=True)
class RankedEntry:
    """A trial, or the trials of a configuration, and its place; ``rank`` is None where there is nothing to rank by.

    ``values`` are the objectives, of a configuration their means over ``n`` of ``planned`` trials; ``best`` is the
    trial with the best value among those. ``order`` decides between equals.
    """

    rows: tuple[TrialSnapshot, ...]
    values: tuple[float, ...] = ()
    n: int = 0
    planned: int = 1
    best: TrialSnapshot | None = None
    rank: int | None = None
    order: Costs = ()


def ranked_entries(progress: StudyProgress) -> list[RankedEntry]:
    """Return every trial, or with replicates every configuration, best first; what has no rank comes last.

    Several objectives rank by the layers of their front, and those of one layer share a rank.
    """
    objectives, (whole, partial, rest) = _objectives_of(progress), _grouped(progress)
    first = _placed(whole, objectives, 0)
    after = max((one.rank or 0 for one in first), default=0)
    return [*first, *_placed(partial, objectives, after), *rest]


def leaders(progress: StudyProgress, most: int = 5) -> list[RankedEntry]:
    """Return the first ones of ``ranked_entries``; of several objectives the whole front, however many they are."""
    objectives, (whole, partial, _) = _objectives_of(progress), _grouped(progress)
    if len(objectives) == 1:
        found = [*_in_order(whole), *_in_order(partial)][:most]
        return [replace(one, rank=place) for place, one in enumerate(found, start=1)]
    first = _in_order(whole or partial)
    front = _front(_costs(one.values, objectives) for one in first)
    return [replace(one, rank=1) for one in first if _costs(one.values, objectives) in front]


def has_replicates(progress: StudyProgress) -> bool:
    """Whether configurations are ranked instead of trials."""
    return progress.study is not None and len(progress.study.spec.replicates.numbers) > 1


def _objectives_of(progress: StudyProgress) -> tuple[Objective, ...]:
    return () if progress.study is None else progress.study.spec.objective_list


def _grouped(progress: StudyProgress) -> tuple[list[RankedEntry], list[RankedEntry], list[RankedEntry]]:
    """Return what is ranked, what is ranked after all that, and what is not ranked."""
    rows = sorted((*progress.finished.values(), *progress.running.values()), key=lambda row: row.trial)
    objectives = _objectives_of(progress)
    if has_replicates(progress):
        return _configurations(progress, rows)
    found = [_single(row, objectives) for row in rows]
    return [one for one in found if one.best], [], [one for one in found if not one.best]


def _is_candidate(row: TrialSnapshot) -> bool:
    ended = row.state in (TrialState.COMPLETE, TrialState.PRUNED) and row.has_checkpoint
    return ended and not any(map(math.isnan, row.values))


def _single(row: TrialSnapshot, objectives: Sequence[Objective]) -> RankedEntry:
    if not _is_candidate(row):
        return RankedEntry((row,))
    first = _costs(row.values, objectives)[0]
    ties = (row.val_loss or 0.0, row.trial) if len(objectives) == 1 else (row.trial,)
    return RankedEntry((row,), row.values, 1, 1, row, order=(first, *ties))


def _configurations(
    progress: StudyProgress, rows: Iterable[TrialSnapshot]
) -> tuple[list[RankedEntry], list[RankedEntry], list[RankedEntry]]:
    assert progress.study is not None
    spec = progress.study.spec
    planned = len(spec.replicates.numbers)
    groups: dict[int, list[TrialSnapshot]] = {}
    for row in rows:
        groups.setdefault(row.point, []).append(row)
    found = [_configuration(groups[point], spec.objective_list, planned) for point in sorted(groups)]
    # A design that runs every point with one seed after the other may be cut short: then it is judged by the seeds
    # that each point has which was not stopped.
    needed = planned if spec.design.kind == "search" else _seeds_needed(found, planned)
    whole = [one for one in found if one.best and _complete(one) >= needed]
    partial = [one for one in found if one.best and _complete(one) < needed]
    return whole, partial, [one for one in found if not one.best]


def _configuration(rows: Sequence[TrialSnapshot], objectives: Sequence[Objective], planned: int) -> RankedEntry:
    rows = tuple(sorted(rows, key=lambda row: (row.replicate, row.trial)))
    usable = [row for row in rows if _is_candidate(row)]
    counted = [row for row in usable if row.state is TrialState.COMPLETE] or usable
    if not counted:
        return RankedEntry(rows, planned=planned)
    means = tuple(fmean(column) for column in zip(*(row.values for row in counted), strict=True))
    losses = [row.val_loss for row in counted if row.val_loss is not None]
    tie = fmean(losses) if len(losses) == len(counted) else 0.0
    best = min(counted, key=lambda row: _costs(row.values, objectives)[0])
    order = (_costs(means, objectives)[0], tie, rows[0].point)
    return RankedEntry(rows, means, len(counted), planned, best, order=order)


def _complete(one: RankedEntry) -> int:
    return sum(row.state is TrialState.COMPLETE and _is_candidate(row) for row in one.rows)


def _seeds_needed(found: Iterable[RankedEntry], planned: int) -> int:
    going = (_complete(one) for one in found if not _is_stopped(one))
    return max(1, min(going, default=planned))


def _is_stopped(one: RankedEntry) -> bool:
    states = {row.state for row in one.rows}
    return TrialState.RUNNING not in states and bool(states & {TrialState.PRUNED, TrialState.FAILED})


def _in_order(found: Iterable[RankedEntry]) -> list[RankedEntry]:
    return sorted(found, key=lambda one: one.order)


def _placed(found: Iterable[RankedEntry], objectives: Sequence[Objective], after: int) -> list[RankedEntry]:
    order = _in_order(found)
    if len(objectives) == 1:
        return [replace(one, rank=place) for place, one in enumerate(order, start=after + 1)]
    layers = _layers([_costs(one.values, objectives) for one in order])
    ranked = [replace(one, rank=after + layer) for one, layer in zip(order, layers, strict=True)]
    return sorted(ranked, key=lambda one: one.rank or 0)


def _costs(values: Sequence[float], objectives: Sequence[Objective]) -> Costs:
    return tuple(
        -value if objective.mode == "max" else value for value, objective in zip(values, objectives, strict=True)
    )


def _dominates(one: Costs, other: Costs) -> bool:
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))


def _is_beaten(one: Costs, front: Sequence[Costs]) -> bool:
    """Whether a member of a front dominates this, where both came in order; of two costs the last member tells."""
    return any(_dominates(other, one) for other in (front[-1:] if len(one) == 2 else reversed(front)))


def _front(costs: Iterable[Costs]) -> set[Costs]:
    """Return what nothing dominates."""
    front: list[Costs] = []
    for one in sorted(set(costs)):  # so that nothing dominates an earlier one
        if not _is_beaten(one, front):
            front.append(one)
    return set(front)


def _layers(costs: Sequence[Costs]) -> list[int]:
    """Number the fronts: 1 is the front, 2 the front of what is left without it, and so on.

    Source: efficient non-dominated sorting with binary search, Zhang et al. 2015.
    """
    fronts: list[list[Costs]] = []
    layer: dict[Costs, int] = {}
    for one in sorted(set(costs)):
        at = bisect_left(fronts, True, key=lambda front: not _is_beaten(one, front))
        if at == len(fronts):
            fronts.append([])
        fronts[at].append(one)
        layer[one] = at + 1
    return [layer[one] for one in costs]


TABLE, CSV = "leaderboard.json", "leaderboard.csv"
_LOGGED = "mlflow.loggedArtifacts"
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
    spec, replicates = progress.study.spec, has_replicates(progress)
    metrics, names = [one.metric for one in spec.objective_list], list(spec.searched())
    means = [*(f"mean {one}" for one in metrics), "n"] if replicates else []
    # MLflow shows the first six columns, the others to the right of them.
    headings = ["rank", *means, "trial", *metrics, "state", *names, "epoch", "point", "replicate", "seed"]
    lines = [
        [one.rank, *(_means(one, len(metrics)) if replicates else []), *_trial(row, progress, names), run_id(row.trial)]
        for one in ranked_entries(progress)
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


def _means(one: RankedEntry, objective_count: int) -> list[Cell]:
    return [*(one.values or (None,) * objective_count), one.n]


def _trial(row: TrialSnapshot, progress: StudyProgress, names: list[str]) -> Iterator[Cell]:
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

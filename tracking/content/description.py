"""Tell a study in Markdown, for the description of its parent run: how far it is and what leads; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from study.analysis.ranking import Configuration
from study.config.study_config import StudySpec
from study.events import StudyStarted
from study.records import TrialRecord
from tracking.content.leaderboard import Entry, leaders
from tracking.content.tags_and_metrics import COUNTED, MAX_TAG_CHARACTERS, cut
from tracking.outbox.study_state import StudyProgress

_MOST_CHARACTERS = 60
_MARKUP = re.compile(r"[\\`*_{}\[\]<>&|~@#!]")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)&#95;(?=\w)")


def plain(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return a value as Markdown that shows it literally, in one line, shortened where it is long."""
    text = " ".join(str(value).split())
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    # Entities mean the same to every renderer; backslashes do not, least of all before a pipe in a table.
    return _BETWEEN_LETTERS.sub("_", _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text))


def number(value: float) -> str:
    """Return a number with six digits."""
    return f"{value:.6g}"


def value(one: object) -> str:
    """Return a cell for a value: numbers with six digits, nothing for None."""
    if one is None:
        return ""
    return number(one) if isinstance(one, float) else plain(one)


def link(text: str, place: str | None) -> str:
    """Return a link, or only its text where there is no place."""
    return f"[{text}]({place})" if place else text


def table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    shown = [plain(one) for one in headings]
    return [_row(shown), _row(["---"] * len(shown)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


Place = Callable[[int], str | None]
"""Where a trial's run is in MLflow's pages, None where that is not known."""
LEADERS = 5
_MOST_OF_A_FRONT = 20
_MOST_PARAMS = 12
_BAR_CHARACTERS = 20
_FEWEST_FOR_A_RATE = 3
_HOUR_S = 3600.0


def description(progress: StudyProgress, place: Place = lambda trial: None) -> str:
    """Return the parent's Markdown; it depends on the events alone, so that a replay writes the same."""
    event = progress.study
    if event is None:
        return ""
    # MLflow shows the first lines and folds the rest away.
    lines = [
        *_how_far(event, progress),
        "",
        *_leaders(progress, place),
        "",
        *_setting(event),
        "",
        *(f"- {plain(notice, 300)}" for notice in event.notices),
    ]
    return cut("\n".join(lines), MAX_TAG_CHARACTERS)


def _setting(event: StudyStarted) -> Iterator[str]:
    spec, word = event.spec, {"max": "maximise", "min": "minimise"}
    goals = ", ".join(f"{word[one.mode]} {_name(one.metric)}" for one in spec.objective_list)
    yield f"It is to {goals} ({_way(spec)}) on {plain(event.device)}, {event.slots} trials at a time."
    yield f"Searched: {', '.join(map(_name, spec.searched())) or 'nothing'}."
    sizes = ", ".join(f"{plain(split)} {size}" for split, size in event.data.sizes.items())
    yield f"Data: {plain(event.data.source)}, {event.data.image_size_px} px, {sizes}."


def _way(spec: StudySpec) -> str:
    seeds = len(spec.replicates.numbers)
    way = spec.search.sampler if spec.design.kind == "search" else spec.design.kind
    return ", ".join([plain(way), plain(spec.pruner), *([f"{seeds} seeds a point"] if seeds > 1 else [])])


def _how_far(event: StudyStarted, progress: StudyProgress) -> Iterator[str]:
    state = progress.outcome.value if progress.outcome else "running"
    ended, planned = len(progress.finished), max(event.planned, len(progress.started))
    share = ended / planned if planned else 0.0
    filled = int(share * _BAR_CHARACTERS)
    bar = f"{'█' * filled}{'░' * (_BAR_CHARACTERS - filled)}"
    yield f"**{plain(event.study, 200)}** is {state}: {bar} {ended} of {planned} trials ended ({share:.0%})"
    counts = ", ".join(f"{progress.count(one)} {one.value.lower()}" for one in COUNTED)
    running = f"; {len(progress.running)} running" if progress.running and progress.outcome is None else ""
    yield f"Ended: {counts}{running}{_rate(progress)}."


def _rate(progress: StudyProgress) -> str:
    """Say how many trials end in an hour; too few of them say nothing."""
    ended = sum((trial.finished_at_s or 0.0) >= progress.since_s for trial in progress.finished.values())
    spent_s = progress.now_s - progress.since_s
    if ended < _FEWEST_FOR_A_RATE or spent_s <= 0:
        return ""
    return f"; {ended * _HOUR_S / spent_s:.3g} an hour since the last start"


def _leaders(progress: StudyProgress, place: Place) -> Iterator[str]:
    assert progress.study is not None
    spec, found = progress.study.spec, leaders(progress, LEADERS)
    if not found:
        yield "No trial has a checkpoint yet."
        return
    names = spec.searched()[:_MOST_PARAMS]
    replicates, many = len(spec.replicates.numbers) > 1, len(spec.objective_list) > 1
    shown = found[:_MOST_OF_A_FRONT]
    what = "configurations" if replicates else "trials"
    if many:
        more = f", {len(shown)} of them below" if len(found) > len(shown) else ""
        yield f"Pareto front: {len(found)} {what} that no other beats in every objective{more}."
    else:
        yield _best(found[0], spec.objective_list[0].metric, place)
    yield ""
    metrics = [one.metric for one in spec.objective_list]
    means = [f"mean {one}" for one in metrics] if replicates else metrics
    whose = ["point", "seeds", "best trial"] if replicates else ["trial", "epoch"]
    headings = [*([] if many else ["rank"]), *whose, *means, *names]
    yield from table(headings, (_cells(entry, metrics, names, place, ranked=not many) for entry in shown))


def _best(entry: Entry, metric: str, place: Place) -> str:
    trial = _best_trial(entry)
    chosen = ", ".join(f"{plain(name)} = {value(setting)}" for name, setting in trial.params.items())
    run = link(f"trial {trial.trial}", place(trial.trial))
    text = f"{_name(metric)} **{number(_values(entry, [metric])[0])}**"
    if isinstance(entry, Configuration):
        mean = f"{text} is the mean of {entry.n}/{entry.planned} seeds"
        return f"Best: point {entry.point}, {mean}, its best is {run}, with {chosen or 'the defaults'}."
    return f"Best: {run}, {text} at epoch {trial.epoch} with {chosen or 'the defaults'}."


def _cells(entry: Entry, metrics: list[str], names: Iterable[str], place: Place, *, ranked: bool) -> Sequence[str]:
    trial = _best_trial(entry)
    cells = [link(str(trial.trial), place(trial.trial))]
    if isinstance(entry, Configuration):
        cells = [str(entry.point), f"{entry.n}/{entry.planned}", *cells]
    else:
        cells.append(value(trial.epoch))
    rank = [str(entry.rank)] if ranked else []
    return [*rank, *cells, *map(number, _values(entry, metrics)), *(value(trial.params.get(name)) for name in names)]


def _best_trial(entry: Entry) -> TrialRecord:
    trial = entry.best if isinstance(entry, Configuration) else entry.record
    assert trial is not None
    return trial


def _values(entry: Entry, metrics: list[str]) -> list[float]:
    values = map(entry.mean_of if isinstance(entry, Configuration) else entry.record.metrics.get, metrics)
    return [value for value in values if value is not None]


def _name(text: str) -> str:
    """Return a name as code, unless it would end the code itself."""
    return plain(text, 120) if set(text) & set("`|\n") else f"`{text}`"

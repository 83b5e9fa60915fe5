"""The description of a study's parent run in Markdown: its progress and its best trials; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from study.analysis.ranking import Configuration
from study.config.study_config import StudySpec
from study.events import StudyStarted
from study.records import TrialRecord
from study.utils.text import printable
from tracking.content.leaderboard import Entry, leaders
from tracking.content.tags_and_metrics import COUNTED, MAX_TAG_CHARACTERS, cut
from tracking.outbox.study_state import StudyProgress

_MOST_CHARACTERS = 60
_MARKUP = re.compile(r"[\\`*_{}\[\]<>&|~@#!]")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)&#95;(?=\w)")


def plain(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return a value as Markdown that shows it literally, in one line, shortened where it is long."""
    text = printable(" ".join(str(value).split()))
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    # Entities mean the same to every renderer; backslashes do not, least of all before a pipe in a table.
    return _BETWEEN_LETTERS.sub("_", _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text))


def number(value: float) -> str:
    """Return a number with six digits."""
    return f"{value:.6g}"


def value(content: object) -> str:
    """Return a cell for a value: numbers with six digits, nothing for None."""
    if content is None:
        return ""
    return number(content) if isinstance(content, float) else plain(content)


def link(text: str, address: str | None) -> str:
    """Return a link, or only its text where there is no address."""
    return f"[{text}]({address})" if address else text


def table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    shown = [plain(heading) for heading in headings]
    return [_row(shown), _row(["---"] * len(shown)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


RunAddress = Callable[[int], str | None]
"""Returns the address of a trial's run in MLflow's pages, None where it is not known."""
LEADERS = 5
_MAX_FRONT_ROWS = 20
_MAX_PARAM_COLUMNS = 12
_BAR_CHARACTERS = 20
_MIN_TRIALS_FOR_RATE = 3
_HOUR_S = 3600.0


def description(progress: StudyProgress, run_address: RunAddress = lambda trial: None) -> str:
    """Return the description of the parent run; the same events give the same text."""
    event = progress.study
    if event is None:
        return ""
    # MLflow shows the first lines and folds the rest away.
    lines = [
        *_progress_lines(event, progress),
        "",
        *_leaders(progress, run_address),
        "",
        *_setting(event),
        "",
        *(f"- {plain(notice, 300)}" for notice in event.notices),
    ]
    return cut("\n".join(lines), MAX_TAG_CHARACTERS)


def _setting(event: StudyStarted) -> Iterator[str]:
    spec, word = event.spec, {"max": "maximise", "min": "minimise"}
    goals = ", ".join(f"{word[objective.mode]} {_name(objective.metric)}" for objective in spec.objective_list)
    yield f"It is to {goals} ({_method(spec)}) on {plain(event.device)}, {event.slots} trials at a time."
    yield f"Searched: {', '.join(map(_name, spec.searched())) or 'nothing'}."
    sizes = ", ".join(f"{plain(split)} {size}" for split, size in event.data.sizes.items())
    yield f"Data: {plain(event.data.source)}, {event.data.image_size_px} px, {sizes}."


def _method(spec: StudySpec) -> str:
    seeds = len(spec.replicates.numbers)
    method = spec.search.sampler if spec.design.kind == "search" else spec.design.kind
    return ", ".join([plain(method), plain(spec.pruner), *([f"{seeds} seeds a point"] if seeds > 1 else [])])


def _progress_lines(event: StudyStarted, progress: StudyProgress) -> Iterator[str]:
    outcome = progress.outcome.value if progress.outcome else "running"
    ended, planned = len(progress.finished), max(event.planned, len(progress.started))
    share = ended / planned if planned else 0.0
    filled = int(share * _BAR_CHARACTERS)
    bar = f"{'█' * filled}{'░' * (_BAR_CHARACTERS - filled)}"
    yield f"**{plain(event.study, 200)}** is {outcome}: {bar} {ended} of {planned} trials ended ({share:.0%})"
    counts = ", ".join(f"{progress.count(state)} {state.value.lower()}" for state in COUNTED)
    running = f"; {len(progress.running)} running" if progress.running and progress.outcome is None else ""
    yield f"Ended: {counts}{running}{_rate(progress)}."


def _rate(progress: StudyProgress) -> str:
    """Return how many trials end in an hour, nothing for too few trials."""
    ended = sum((trial.finished_at_s or 0.0) >= progress.since_s for trial in progress.finished.values())
    spent_s = progress.now_s - progress.since_s
    if ended < _MIN_TRIALS_FOR_RATE or spent_s <= 0:
        return ""
    return f"; {ended * _HOUR_S / spent_s:.3g} an hour since the last start"


def _leaders(progress: StudyProgress, run_address: RunAddress) -> Iterator[str]:
    assert progress.study is not None
    spec, entries = progress.study.spec, leaders(progress, LEADERS)
    if not entries:
        yield "No trial has a checkpoint yet."
        return
    names = spec.searched()[:_MAX_PARAM_COLUMNS]
    replicates, many = len(spec.replicates.numbers) > 1, len(spec.objective_list) > 1
    shown = entries[:_MAX_FRONT_ROWS]
    what = "configurations" if replicates else "trials"
    if many:
        more = f", {len(shown)} of them below" if len(entries) > len(shown) else ""
        yield f"Pareto front: {len(entries)} {what} that no other beats in every objective{more}."
    else:
        yield _best(entries[0], spec.objective_list[0].metric, run_address)
    yield ""
    metrics = [objective.metric for objective in spec.objective_list]
    means = [f"mean {metric}" for metric in metrics] if replicates else metrics
    columns = ["point", "seeds", "best trial"] if replicates else ["trial", "epoch"]
    headings = [*([] if many else ["rank"]), *columns, *means, *names]
    yield from table(headings, (_cells(entry, metrics, names, run_address, ranked=not many) for entry in shown))


def _best(entry: Entry, metric: str, run_address: RunAddress) -> str:
    trial = _best_trial(entry)
    chosen = ", ".join(f"{plain(name)} = {value(setting)}" for name, setting in trial.params.items())
    run = link(f"trial {trial.trial}", run_address(trial.trial))
    text = f"{_name(metric)} **{number(_values(entry, [metric])[0])}**"
    if isinstance(entry, Configuration):
        mean = f"{text} is the mean of {entry.n}/{entry.planned} seeds"
        return f"Best: point {entry.point}, {mean}, its best is {run}, with {chosen or 'the defaults'}."
    return f"Best: {run}, {text} at epoch {trial.epoch} with {chosen or 'the defaults'}."


def _cells(
    entry: Entry, metrics: list[str], names: Iterable[str], run_address: RunAddress, *, ranked: bool
) -> Sequence[str]:
    trial = _best_trial(entry)
    cells = [link(str(trial.trial), run_address(trial.trial))]
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
    return plain(text, 120) if set(text) & set("`|\n") else f"`{printable(text)}`"

"""How the trials went: learning curves, searched parameters, the front, cost, failures and provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from study.records import TrialRecord, TrialState
from study.report.content import StudyContent
from study.report.elements import Fact, Figure, Section, Table, listed, number, setting
from study.report.interval_plots import bar_plot
from study.report.sections.layout import duration_text, figure, first_line
from study.report.svg import SERIES
from study.report.trial_plots import (
    MOST_CURVES,
    FrontPoint,
    ParallelLine,
    curves_plot,
    front_plot,
    parallel_plot,
    timeline_plot,
)

MOST_PARAMS = 12


def learning_section(content: StudyContent) -> Section | None:
    """Return the metric and the loss over the epochs of every trial."""
    ranked = [(entry, entry.best or entry.trials[0]) for entry in content.entries if entry.rank]
    named = {trial.trial: content.labels[entry.key] for entry, trial in ranked[:SERIES]}
    epochs = {trial.trial: trial for trial in content.trials}
    order = dict.fromkeys([trial.trial for _, trial in ranked])
    order |= dict.fromkeys(trial.trial for entry in content.entries for trial in entry.trials)
    trials = [epochs[at] for at in order if epochs[at].history]
    if not trials:
        return Section("learning", "Learning curves", ("No trial has reported an epoch.",))
    metrics = [name for name in dict.fromkeys((content.objective.metric, "val_loss"))
               if any(name in epoch.values for trial in trials for epoch in trial.history)]  # fmt: skip
    figures = [_learning_figure(content, trials, metric, named) for metric in metrics]
    return Section("learning", "Learning curves", figures=tuple(figures))


def _learning_figure(
    content: StudyContent, trials: Sequence[TrialRecord], metric: str, named: Mapping[int, str]
) -> Figure:
    shown = trials[:MOST_CURVES]
    table = Table(
        ("trial", "state", "epochs", "best epoch", f"{metric} then", "at the last epoch"),
        tuple((str(trial.trial), trial.state.value.lower(), str(trial.epochs_run), number(trial.epoch),
               number(trial.metrics.get(metric)), number(trial.history[-1].values.get(metric))) for trial in shown),
        frozenset({0, 2, 3, 4, 5}),
    )  # fmt: skip
    note = "In colour those ranked first" + (", by their best seed" if content.of_configurations else "")
    note += "; dotted and ending in a cross those stopped early."
    note += f" The first {len(shown)} of {len(trials)} are drawn." if len(trials) > len(shown) else ""
    stopped = sum(trial.state is TrialState.PRUNED for trial in shown)
    told = f"{metric} over up to {max(trial.epochs_run for trial in shown)} epochs of {len(shown)} trials, "
    told += f"{stopped} of them stopped early; first {listed(list(named.values()))}."
    return figure(f"learning-{metric}", metric, told, curves_plot(trials, metric, named), table, note)


def parameters_section(content: StudyContent) -> Section | None:
    """Return the searched values of all entries across parallel axes, and how important each parameter was."""
    valued = [entry for entry in content.entries if entry.value is not None and math.isfinite(entry.value)]
    params, metric = content.searched[:MOST_PARAMS], content.objective.metric
    if not params or len(valued) < 2:
        return None
    shown = valued[:MOST_CURVES]
    lines = [ParallelLine(entry.name, entry.params, float(entry.value or 0.0), at if at < SERIES else None,
                          entry.state is TrialState.PRUNED) for at, entry in enumerate(shown)]  # fmt: skip
    table = Table(
        ("", *params, metric),
        tuple((line.name, *(setting(line.params.get(name)) for name in params), number(line.value)) for line in lines),
        frozenset({len(params) + 1}),
    )  # fmt: skip
    told = f"{len(lines)} lines across {', '.join(params)} and {metric}; the first is {lines[0].name}."
    note = "In colour the first six; dotted those stopped early."
    figures = [figure("parallel", "Parallel coordinates", told, parallel_plot(lines, params, metric), table, note)]
    if content.importance:
        bars = sorted(content.importance.items(), key=lambda item: -item[1])
        cells = tuple((name, number(value)) for name, value in bars)
        table = Table(("parameter", "importance"), cells, frozenset({1}))
        told, note = f"Most important is {bars[0][0]} with {bars[0][1]:.2f}.", " ".join(content.importance_notes)
        figures.append(figure("importance", "Importance", told, bar_plot(bars, "importance"), table, note))
    return Section("parameters", "Searched parameters", figures=tuple(figures))


def front_section(content: StudyContent) -> Section | None:
    """Return the entries by their first two objectives."""
    if len(content.objectives) < 2:
        return None
    y, x = content.objectives[0].metric, content.objectives[1].metric
    entries = [entry for entry in content.entries if entry.rank and {x, y} <= entry.values.keys()]
    if not entries:
        return None
    kinds = ["front" if entry.rank == 1 else "may be" if entry.key in content.may_be_on_front else "other"
             for entry in entries]  # fmt: skip
    points = [FrontPoint(entry.name, entry.values[x], entry.values[y], kind)
              for entry, kind in zip(entries, kinds, strict=True)]  # fmt: skip
    metrics = [objective.metric for objective in content.objectives]
    rows = tuple((entry.name, str(entry.rank), *(number(entry.values.get(name)) for name in metrics))
                 for entry in entries)  # fmt: skip
    table = Table(("", "layer", *metrics), rows, frozenset(range(1, len(metrics) + 2)))
    front = [point.name for point in points if point.kind == "front"]
    others = [point.name for point in points if point.kind == "may be"]
    told = f"{len(points)} by {x} and {y}; on the front: {listed(front)}."
    told += f" May be on it as well: {listed(others)}." if others else ""
    note = ("Diamonds are the front as measured: no other is better in everything. Squares may be on it too: no other "
            "is surely better in each objective that images and seeds blur, and as good in the rest.")  # fmt: skip
    plot = front_plot(points, f"{x} ({content.objectives[1].mode})", f"{y} ({content.objectives[0].mode})")
    return Section("front", "Pareto front", (content.answer,),
                   figures=(figure("front", f"{y} against {x}", told, plot, table, note),))  # fmt: skip


def cost_section(content: StudyContent) -> Section | None:
    """Return when each trial ran and what the study took."""
    began = [trial for trial in content.trials if trial.started_at_s is not None]
    if not began:
        return None
    start = min(trial.started_at_s or 0.0 for trial in began)
    end = max(trial.finished_at_s or content.at_s for trial in began)
    busy = sum(trial.busy_s or 0.0 for trial in content.trials)
    pruned = sum(trial.busy_s or 0.0 for trial in content.trials if trial.state is TrialState.PRUNED)
    epochs = sum(trial.epochs_run for trial in content.trials)
    facts = [
        Fact("From the first trial to the last end", duration_text(end - start)),
        Fact(
            "On workers",
            duration_text(busy),
            f"{100 * pruned / busy:.0f} % of it in trials stopped early" if busy else "",
        ),
        Fact("Epochs", f"{epochs:,}", f"in {len(began)} trials"),
    ]
    table = Table(
        ("trial", "state", "begun after [s]", "took [s]", "epochs", "attempts"),
        tuple((str(trial.trial), trial.state.value.lower(), f"{(trial.started_at_s or start) - start:.0f}",
               "-" if trial.finished_at_s is None else f"{trial.finished_at_s - (trial.started_at_s or 0.0):.0f}",
               str(trial.epochs_run), str(trial.attempts)) for trial in began),
        frozenset({0, 2, 3, 4, 5}),
    )  # fmt: skip
    told = f"{len(began)} trials ran from 0 to {end - start:.0f} s."
    note = "A bar is a trial; a cross marks one stopped early, a triangle one that failed."
    plot = timeline_plot(began, content.at_s)
    return Section("cost", "Timeline and cost", facts=tuple(facts),
                   figures=(figure("timeline", "When each trial ran", told, plot, table, note),))  # fmt: skip


def failures_section(content: StudyContent) -> Section | None:
    """Return the trials that failed and why."""
    if not content.failures:
        return Section("failures", "Failures", ("No trial failed.",))
    rows = tuple((str(trial.trial), str(trial.attempts), str(trial.epochs_run), first_line(trial.error))
                 for trial in content.failures)  # fmt: skip
    return Section("failures", "Failures", tables=(Table(("trial", "attempts", "epochs", "error"), rows,
                                                         frozenset({0, 1, 2})),))  # fmt: skip


def provenance_section(content: StudyContent) -> Section:
    """Return on what the study ran, and how it is made again."""
    facts = {**content.data, **content.provenance}
    table = Table(("", ""), tuple((name, number(value)) for name, value in facts.items()))
    return Section("provenance", "Provenance", tables=(table,), commands=content.commands)

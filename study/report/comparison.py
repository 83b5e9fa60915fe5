"""The report of two runs: the contrast, the settings that differ, both curves and the ROC."""

from __future__ import annotations

from dataclasses import replace

from study.records import TrialRecord
from study.report.content import RunPair
from study.report.elements import Document, Fact, Figure, Section, Table, between, number
from study.report.sections.layout import figure, metric_text
from study.report.sections.predictions import prediction_figures
from study.report.summary import noise_figures
from study.report.trial_plots import curves_plot

_ALSO = ("val_auc", "val_accuracy", "val_f1", "val_loss", "val_ece", "parameters", "latency_ms")


def pair_document(pair: RunPair) -> Document:
    """Return the report of two runs."""
    sections = (_answer(pair), _settings(pair), _learning(pair), _predictions(pair))
    title = f"{pair.names[0]} against {pair.names[1]}"
    first, second = pair.runs
    of = first.study if first.study == second.study else f"{first.study} and {second.study}"
    return Document(title, f"two runs of {of}, by {pair.objective.metric} ({pair.objective.mode})", pair.answer,
                    tuple(section for section in sections if section is not None))  # fmt: skip


def _answer(pair: RunPair) -> Section:
    metric = pair.objective.metric
    facts = [Fact(name, f"{metric} {number(run.metrics.get(metric))}",
                  f"{run.state.value.lower()}, epoch {number(run.epoch)} of {run.epochs_run}")
             for name, run in zip(pair.names, pair.runs, strict=True)]  # fmt: skip
    figures: tuple[Figure, ...] = ()
    if pair.verdict is not None:
        lead = pair.verdict.judgement.differences[0]
        facts.append(
            Fact("Difference", number(lead.value), f"95 % interval {between(lead.low, lead.high)}, p {lead.p:.2g}")
        )
        figures = noise_figures(pair.verdict)
    names = [name for name in dict.fromkeys((metric, *_ALSO)) if any(name in run.metrics for run in pair.runs)]
    rows = tuple((name, *(metric_text(name, run.metrics.get(name)) for run in pair.runs)) for name in names)
    table = Table(("metric", *pair.names), rows, frozenset({1, 2}))
    return Section("answer", "Answer", pair.more, facts=tuple(facts), figures=figures, tables=(table,))


def _settings(pair: RunPair) -> Section:
    rows = tuple(row for row in pair.differing if row[0] != "metrics")
    if not rows:
        return Section("settings", "Settings that differ", ("Nothing but chance: all settings are the same.",))
    table = Table(("part", "setting", *pair.names), rows)
    return Section("settings", "Settings that differ", tables=(table,), commands=pair.commands)


def _learning(pair: RunPair) -> Section | None:
    figures = []
    for metric in dict.fromkeys((pair.objective.metric, "val_loss", "train_loss")):
        named = dict(enumerate(pair.names))
        runs = [run for run in pair.runs if any(metric in epoch.values for epoch in run.history)]
        if len(runs) < 2:
            continue
        epochs = sorted({epoch.epoch for run in runs for epoch in run.history})
        values = [{epoch.epoch: epoch.values.get(metric) for epoch in run.history} for run in pair.runs]
        rows = tuple((str(epoch), *(number(each.get(epoch)) for each in values)) for epoch in epochs)
        # Two runs of different studies may have the same number.
        plot = curves_plot([_renumbered(run, at) for at, run in enumerate(pair.runs)], metric, named)
        told = f"{metric} over {len(epochs)} epochs of {pair.names[0]} and {pair.names[1]}."
        figures.append(
            figure(f"curve-{metric}", metric, told, plot, Table(("epoch", *pair.names), rows, frozenset({0, 1, 2})))
        )
    return Section("learning", "Learning curves", figures=tuple(figures)) if figures else None


def _predictions(pair: RunPair) -> Section | None:
    figures = prediction_figures(pair.predictions, pair.classes)
    return Section("predictions", "ROC and calibration", figures=tuple(figures)) if figures else None


def _renumbered(run: TrialRecord, at: int) -> TrialRecord:
    return replace(run, trial=at)

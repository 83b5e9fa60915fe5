"""The sections of a study's report, in their order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from study.figures.curves import CALIBRATION_BINS, Calibration, calibrate, roc
from study.metric_catalog import SHIFTED_METRIC_PREFIX, VAL_PREFIX, metric_named, shifted_sets
from study.records import TrialRecord, TrialState
from study.report.content import Entry, ImageSetVerdict, Predictions, StudyContent
from study.report.elements import Document, Fact, Figure, Section, Table, between, listed, number, setting, signed
from study.report.interval_plots import MOST_ROWS, IntervalRow, bar_plot, interval_plot
from study.report.pictures import picture_of
from study.report.prediction_plots import reliability_plot, roc_plot
from study.report.summary import headline, summary_section
from study.report.svg import SERIES, Canvas
from study.report.trial_plots import (
    MOST_CURVES,
    FrontPoint,
    ParallelLine,
    curves_plot,
    front_plot,
    parallel_plot,
    timeline_plot,
)

_ALSO = ("val_accuracy", "val_loss", "parameters")
_MOST_PARAMS = 12
_MANY_IMAGES = 1000
_MOST_SETS_ENTRIES = 5


def study_document(content: StudyContent, subtitle: str) -> Document:
    """Return the report of a study."""
    build: Sequence[Callable[[StudyContent], Section | None]] = (
        summary_section, intervals_section, leaderboard_section, effects_section, image_sets_section,
        learning_section, parameters_section, front_section, predictions_section, wrong_images_section,
        cost_section, failures_section, provenance_section,
    )  # fmt: skip
    sections = (section for make in build if (section := make(content)) is not None)
    return Document(content.name, subtitle, headline(content), tuple(sections))


def figure(key: str, title: str, description: str, canvas: Canvas, table: Table, note: str = "") -> Figure:
    """Return a drawn plot with what is said about it."""
    return Figure(key, title, description, canvas.svg, canvas.width, canvas.height, table, note)


def intervals_section(content: StudyContent) -> Section | None:
    """Return each entry's value with its interval, and the leader's lead over each other."""
    verdict = content.verdict
    if verdict is None:
        return None
    judgement, metric = verdict.judgement, content.objective.metric
    entries = [content.entry(verdict.keys[k]) for k in (judgement.leader, *judgement.others)]
    may_be = set(verdict.may_be_best)
    rows = [
        IntervalRow(content.labels[entry.key], entry.standing.value, entry.standing.low, entry.standing.high,
                    _kind(entry.key, verdict.leader, may_be), _ranks(entry))
        for entry in entries if entry.standing is not None
    ]  # fmt: skip
    values = Table(
        ("", metric, "95 % interval", "rank from", "rank to", "may be the best"),
        tuple((row.label, number(row.value), between(row.low or 0.0, row.high or 0.0), *_rank_cells(entry),
               "yes" if entry.key in may_be else "no") for row, entry in zip(rows, entries, strict=True)),
        frozenset({1, 3, 4}),
    )  # fmt: skip
    more = f" The first {MOST_ROWS} are drawn." if len(rows) > MOST_ROWS else ""
    figures = [figure(
        "intervals", f"{metric} with 95 % intervals", _described(rows, f"{metric} of {len(rows)}"),
        interval_plot(rows, metric), values,
        "Diamond: the leader; filled circle: may be the best; hollow: surely not. To the right the ranks that each "
        f"may have. Intervals may overlap where the paired differences below still decide.{more}",
    )]  # fmt: skip
    if judgement.differences:
        pairs = list(zip(judgement.others, judgement.differences, strict=True))
        names = [content.labels[verdict.keys[k]] for k, _ in pairs]
        leads = [IntervalRow(name, lead.value, _finite(lead.low), _finite(lead.high),
                             _kind(verdict.keys[k], None, may_be))
                 for name, (k, lead) in zip(names, pairs, strict=True)]  # fmt: skip
        table = Table(
            ("leader less", "difference", "95 % interval", "p", "error by seeds", "error by images"),
            tuple((name, signed(lead.value), between(lead.low, lead.high), f"{lead.p:.2g}", f"{lead.se_seed:.2g}",
                   f"{lead.se_image:.2g}") for name, (_, lead) in zip(names, pairs, strict=True)),
            frozenset({1, 3, 4, 5}),
        )  # fmt: skip
        leader = content.entry(verdict.leader).name
        figures.append(figure(
            "leads", f"{leader} less each other", _described(leads, f"The difference of {leader} to {len(leads)}"),
            interval_plot(leads, f"difference in {metric}", reference=0.0), table,
            "Paired on the same images. The leader is certain to be the best if every interval lies on its side of 0; "
            "otherwise they allow for its having been picked.",
        ))  # fmt: skip
    return Section("intervals", "Intervals", figures=tuple(figures))


def leaderboard_section(content: StudyContent) -> Section:
    """Return the table of all entries."""
    may_be = set(content.verdict.may_be_best) if content.verdict else set()
    columns = _leaderboard_columns(content)
    table = Table(
        tuple(heading for heading, _, _ in columns),
        tuple(tuple(text(entry) for _, _, text in columns) for entry in content.entries),
        frozenset(at for at, (_, is_number, _) in enumerate(columns) if is_number),
        frozenset(at for at, entry in enumerate(content.entries) if entry.key in may_be),
        is_interactive=True,
    )
    told = ["Marked rows may be the best; may be: the ranks that each may have (95 %)."] if may_be else []
    if content.of_configurations:
        told.append("Metrics are means over the seeds that ran to the end.")
    if len(content.searched) > _MOST_PARAMS:
        told.append(f"The first {_MOST_PARAMS} of {len(content.searched)} searched parameters are shown.")
    return Section("leaderboard", "Leaderboard", (" ".join(told),) if told else (), tables=(table,))


_Column = tuple[str, bool, Callable[[Entry], str]]
"""A heading, whether the column has numbers, and the text of an entry."""


def _leaderboard_columns(content: StudyContent) -> list[_Column]:
    metrics = [objective.metric for objective in content.objectives]
    also = [name for name in _ALSO if name not in metrics and _varies(content, name)]
    columns: list[_Column] = [("rank", True, lambda entry: number(entry.rank))]
    if content.verdict is not None:
        columns.append(("may be", False, _ranks))
    columns.append(("configuration" if content.of_configurations else "trial", True, lambda entry: str(entry.key)))
    columns.append(("state", False, lambda entry: entry.state.value.lower()))
    if content.of_configurations:
        columns.append(("seeds", False, lambda entry: entry.seeds))
    columns += [_metric_column(name) for name in metrics]
    if any(entry.standing for entry in content.entries):
        heading = "95 % interval" if len(metrics) == 1 else f"95 % interval of {metrics[0]}"
        columns.append((heading, False, _interval))
    columns += [_parameter_column(content, name) for name in content.searched[:_MOST_PARAMS]]
    columns += [_metric_column(name) for name in also]
    return [*columns, ("time [s]", True, lambda entry: _seconds(entry.trials))]


def _metric_column(name: str) -> _Column:
    return name, True, lambda entry: metric_text(name, entry.values.get(name))


def _parameter_column(content: StudyContent, name: str) -> _Column:
    return name, not _is_text(content, name), lambda entry: setting(entry.params.get(name))


def _varies(content: StudyContent, metric: str) -> bool:
    return len({entry.values[metric] for entry in content.entries if metric in entry.values}) > 1


def _interval(entry: Entry) -> str:
    return "-" if entry.standing is None else between(entry.standing.low, entry.standing.high)


def effects_section(content: StudyContent) -> Section | None:
    """Return what each level of each factor does."""
    figures = []
    for at, effects in enumerate(content.effects):
        rows, factor = [], None
        for row in effects.rows:
            heading = row.factor if row.factor != factor else ""
            factor = row.factor
            sure = row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)
            rows.append(
                IntervalRow(row.level, row.value, row.low, row.high, "may be" if sure else "other", "", heading)
            )
        table = Table(
            ("factor", "level", "effect", "95 % interval", ""),
            tuple((row.factor, row.level, signed(row.value),
                   "-" if row.low is None or row.high is None else between(row.low, row.high), row.note)
                  for row in effects.rows),
            frozenset({2}),
        )  # fmt: skip
        note = " ".join(["Filled: surely not 0, in intervals that all hold together.", *effects.notes])
        figures.append(figure(
            f"effects{at or ''}", effects.title, _described(rows, f"Effects on {effects.metric} of {len(rows)}"),
            interval_plot(rows, f"difference in {_bare(effects.metric)}", reference=0.0), table, note,
        ))  # fmt: skip
    if not figures:
        return Section("effects", "Effects", (content.no_effects,)) if content.no_effects else None
    return Section("effects", "Effects", figures=tuple(figures))


def image_sets_section(content: StudyContent) -> Section | None:
    """Return what the best entries reach on validation, shifted and test images."""
    sets = [image_set for image_set in content.image_sets if image_set.standings]
    paragraphs, tables, figures = [], [], []
    if len(sets) > 1 or (sets and not content.tested):
        figures, tables = _set_plots(content, sets), [_set_table(content, sets)]
        told = [f"{image_set.may_be_best} of {len(image_set.standings)} on {image_set.name}" for image_set in sets]
        paragraphs.append(f"May be the best: {listed(told, 12)}.")
    paragraphs += content.tested
    if not content.tested:
        paragraphs.append(
            "The test images were not looked at." if sum(content.test_counts) else "There are no test images."
        )
    return Section("sets", "Validation, shifted and test images", tuple(paragraphs), figures=tuple(figures),
                   tables=tuple(tables))  # fmt: skip


def _set_plots(content: StudyContent, sets: Sequence[ImageSetVerdict]) -> list[Figure]:
    keys = _shown_keys(content, sets)
    leader = keys[0]
    rows = []
    for image_set in sets:
        for at, key in enumerate(key for key in keys if key in image_set.standings):
            standing = image_set.standings[key]
            rows.append(IntervalRow(content.labels[key], standing.value, standing.low, standing.high,
                                    "leader" if key == leader else "other",
                                    "" if standing.rank_low == standing.rank_high == 0 else _rank_words(standing),
                                    image_set.name if at == 0 else ""))  # fmt: skip
    table = Table(
        ("images", "", "value", "95 % interval"),
        tuple((image_set.name, content.labels[key], number(image_set.standings[key].value),
               between(image_set.standings[key].low, image_set.standings[key].high))
              for image_set in sets for key in keys if key in image_set.standings),
        frozenset({2}),
    )  # fmt: skip
    canvas = interval_plot(rows, _bare(sets[0].metric))
    note = "Diamond: the leader on validation. To the right the ranks on that set."
    told = _described(rows, f"Values on {len(sets)} sets")
    return [figure("sets", "The best on each set of images", told, canvas, table, note)]


def _set_table(content: StudyContent, sets: Sequence[ImageSetVerdict]) -> Table:
    keys = _shown_keys(content, sets)
    rows = tuple(
        (content.labels[key],
         *(number(image_set.standings[key].value) if key in image_set.standings else "-" for image_set in sets))
        for key in keys
    )  # fmt: skip
    return Table(("", *(image_set.name for image_set in sets)), rows, frozenset(range(1, len(sets) + 1)))


def _shown_keys(content: StudyContent, sets: Sequence[ImageSetVerdict]) -> list[int]:
    """Return the leader and the next on validation, of those that every set has."""
    return [entry.key for entry in content.entries if entry.key in sets[0].standings][:_MOST_SETS_ENTRIES]


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
    params, metric = content.searched[:_MOST_PARAMS], content.objective.metric
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


def predictions_section(content: StudyContent) -> Section | None:
    """Return the ROC curves and the reliability of those that may be the best."""
    figures = prediction_figures(
        [replace(each, name=content.labels.get(each.key, each.name)) for each in content.predictions], content.classes
    )
    if not figures:
        return None
    who = "each by its best seed" if content.of_configurations else "each by its checkpoint"
    told = f"Of the first {len(content.predictions)} that may be the best, {who}, on the validation images."
    return Section("predictions", "ROC and calibration", (told,), figures=tuple(figures))


def prediction_figures(predictions: Sequence[Predictions], classes: Sequence[str]) -> list[Figure]:
    """Return ROC curves and reliability; of more than two classes the ROC curves are those of the first's classes."""
    if not predictions:
        return []
    first, two = predictions[0], len(classes) == 2
    if two:
        curves = [(each.name, roc(each.scores[:, 1], each.labels == 1)) for each in predictions]
    else:
        curves = [(name, roc(first.scores[:, k], first.labels == k)) for k, name in enumerate(classes)]
        curves.sort(key=lambda pair: pair[1].area if pair[1] else 2.0)  # the worst first
    drawn = [(name, curve) for name, curve in curves if curve is not None][:SERIES]
    figures = []
    if drawn:
        areas = Table(("", "AUC"), tuple((name, number(curve.area)) for name, curve in drawn), frozenset({1}))
        told = "; ".join(f"{name}: AUC {curve.area:.4f}" for name, curve in drawn)
        note = "" if two else f"Each class of {first.name} against the rest, the worst {len(drawn)}."
        figures.append(figure("roc", "ROC curves", told + ".", roc_plot(drawn), areas, note))
    bins = [(each.name, *_reliability(each, two=two)) for each in predictions[:3]]
    rows = tuple(
        (name, f"{k / len(calibration.counts):.2f}", str(calibration.counts[k]), number(float(calibration.score[k])),
         number(float(calibration.share[k])))
        for name, calibration, _ in bins for k in range(len(calibration.counts)) if calibration.counts[k]
    )  # fmt: skip
    table = Table(("", "score from", "images", "mean score", "share true"), rows, frozenset({1, 2, 3, 4}))
    told = "; ".join(f"{name}: expected calibration error {error:.4f}" for name, _, error in bins) + "."
    what = f"score of {classes[1]}" if two else "score of the class called"
    note = f"The {what}: on the diagonal it is a probability. Bars: images in each bin, of the first."
    figures.append(figure("calibration", "Calibration", told, reliability_plot(bins), table, note))
    return figures


def _reliability(predictions: Predictions, *, two: bool) -> tuple[Calibration, float]:
    """Return the reliability of the positive class of two, else of the class called, and the error as in ``val_ece``.

    Few images have wider bins. The error is that of the class called.
    """
    scores, labels = predictions.scores, predictions.labels
    highest, is_right = scores.max(axis=1), scores.argmax(axis=1) == labels
    error = calibrate(highest, is_right).error
    bins = CALIBRATION_BINS if len(labels) >= _MANY_IMAGES else 8
    drawn = calibrate(scores[:, 1], labels == 1, bins) if two else calibrate(highest, is_right, bins)
    return drawn, error


def wrong_images_section(content: StudyContent) -> Section | None:
    """Return the images that the leader is most wrong about."""
    if not content.wrong:
        return Section("wrong", "Most wrong images", (content.no_pictures,)) if content.no_pictures else None
    pictures = tuple(picture_of(image) for image in content.wrong)
    leader = content.predictions[0].name if content.predictions else "the leader"
    told = (
        f"Validation images by the loss of {leader}, the highest first; framed with a thick line those it calls wrong."
    )
    return Section("wrong", "Most wrong images", (told,), pictures=pictures)


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
        Fact("From the first trial to the last end", _duration(end - start)),
        Fact(
            "On workers", _duration(busy), f"{100 * pruned / busy:.0f} % of it in trials stopped early" if busy else ""
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
    rows = tuple((str(trial.trial), str(trial.attempts), str(trial.epochs_run), _first_line(trial.error))
                 for trial in content.failures)  # fmt: skip
    return Section("failures", "Failures", tables=(Table(("trial", "attempts", "epochs", "error"), rows,
                                                         frozenset({0, 1, 2})),))  # fmt: skip


def provenance_section(content: StudyContent) -> Section:
    """Return on what the study ran, and how it is made again."""
    facts = {**content.data, **content.provenance}
    table = Table(("", ""), tuple((name, number(value)) for name, value in facts.items()))
    return Section("provenance", "Provenance", tables=(table,), commands=content.commands)


def _first_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return number(lines[-1][:300]) if lines else "-"


def _bare(metric: str) -> str:
    """Return a metric without the set that it is measured on."""
    images = next(iter(shifted_sets(metric)), None)
    return metric.removeprefix(VAL_PREFIX if images is None else f"{SHIFTED_METRIC_PREFIX}{images}.")


def _kind(key: int, leader: int | None, may_be: set[int]) -> str:
    return "leader" if key == leader else "may be" if key in may_be else "other"


def _ranks(entry: Entry) -> str:
    return "-" if entry.standing is None else _rank_words(entry.standing)


def _rank_words(standing: object) -> str:
    low, high = getattr(standing, "rank_low", 0), getattr(standing, "rank_high", 0)
    return str(low) if low == high else f"{low} to {high}"


def _rank_cells(entry: Entry) -> tuple[str, str]:
    return ("-", "-") if entry.standing is None else (str(entry.standing.rank_low), str(entry.standing.rank_high))


def _described(rows: Sequence[IntervalRow], what: str) -> str:
    """Return the values of the first rows in words."""
    told = [f"{row.label} {row.value:.4g}" + ("" if row.low is None or row.high is None else
                                              f" ({row.low:.4g} to {row.high:.4g})") for row in rows[:3]]  # fmt: skip
    return f"{what}: {'; '.join(told)}" + (f"; and {len(rows) - 3} more" if len(rows) > 3 else "") + "."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def metric_text(name: str, value: float | None) -> str:
    """Write the value of a metric; a number of parameters in full."""
    known = metric_named(name)
    whole = known is not None and name == "parameters" and value is not None
    return f"{value:,.0f}" if whole else number(value)


def _is_text(content: StudyContent, name: str) -> bool:
    values = [entry.params[name] for entry in content.entries if name in entry.params]
    return any(isinstance(value, str | bool) for value in values)


def _seconds(trials: Sequence[TrialRecord]) -> str:
    spent = [trial.finished_at_s - trial.started_at_s for trial in trials
             if trial.finished_at_s is not None and trial.started_at_s is not None]  # fmt: skip
    return f"{sum(spent):.0f}" if spent else "-"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""Who may be the best: intervals, leaderboard, effects and the other sets of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.metric_catalog import bare_metric
from study.report.content import Entry, ImageSetVerdict, StudyContent
from study.report.elements import Figure, Section, Table, between, listed, number, setting, signed
from study.report.interval_plots import MOST_ROWS, IntervalRow, interval_plot
from study.report.sections.layout import (
    describe_rows,
    figure,
    finite_or_none,
    holds_text,
    marker_kind,
    metric_text,
    rank_cells,
    rank_words,
    ranks_of,
    seconds_of,
)
from study.report.sections.trials import MOST_PARAMS

_ALSO = ("val_accuracy", "val_loss", "parameters")
_Column = tuple[str, bool, Callable[[Entry], str]]
"""A heading, whether the column has numbers, and the text of an entry."""
MANY_IMAGES = 1000
_MOST_SETS_ENTRIES = 5


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
                    marker_kind(entry.key, verdict.leader, may_be), ranks_of(entry))
        for entry in entries if entry.standing is not None
    ]  # fmt: skip
    values = Table(
        ("", metric, "95 % interval", "rank from", "rank to", "may be the best"),
        tuple((row.label, number(row.value), between(row.low or 0.0, row.high or 0.0), *rank_cells(entry),
               "yes" if entry.key in may_be else "no") for row, entry in zip(rows, entries, strict=True)),
        frozenset({1, 3, 4}),
    )  # fmt: skip
    more = f" The first {MOST_ROWS} are drawn." if len(rows) > MOST_ROWS else ""
    figures = [figure(
        "intervals", f"{metric} with 95 % intervals", describe_rows(rows, f"{metric} of {len(rows)}"),
        interval_plot(rows, metric), values,
        "Diamond: the leader; filled circle: may be the best; hollow: surely not. To the right the ranks that each "
        f"may have. Intervals may overlap where the paired differences below still decide.{more}",
    )]  # fmt: skip
    if judgement.differences:
        pairs = list(zip(judgement.others, judgement.differences, strict=True))
        names = [content.labels[verdict.keys[k]] for k, _ in pairs]
        leads = [IntervalRow(name, lead.value, finite_or_none(lead.low), finite_or_none(lead.high),
                             marker_kind(verdict.keys[k], None, may_be))
                 for name, (k, lead) in zip(names, pairs, strict=True)]  # fmt: skip
        table = Table(
            ("leader less", "difference", "95 % interval", "p", "error by seeds", "error by images"),
            tuple((name, signed(lead.value), between(lead.low, lead.high), f"{lead.p:.2g}", f"{lead.se_seed:.2g}",
                   f"{lead.se_image:.2g}") for name, (_, lead) in zip(names, pairs, strict=True)),
            frozenset({1, 3, 4, 5}),
        )  # fmt: skip
        leader = content.entry(verdict.leader).name
        figures.append(figure(
            "leads", f"{leader} less each other", describe_rows(leads, f"The difference of {leader} to {len(leads)}"),
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
    if len(content.searched) > MOST_PARAMS:
        told.append(f"The first {MOST_PARAMS} of {len(content.searched)} searched parameters are shown.")
    return Section("leaderboard", "Leaderboard", (" ".join(told),) if told else (), tables=(table,))


def _leaderboard_columns(content: StudyContent) -> list[_Column]:
    metrics = [objective.metric for objective in content.objectives]
    also = [name for name in _ALSO if name not in metrics and _varies(content, name)]
    columns: list[_Column] = [("rank", True, lambda entry: number(entry.rank))]
    if content.verdict is not None:
        columns.append(("may be", False, ranks_of))
    columns.append(("configuration" if content.of_configurations else "trial", True, lambda entry: str(entry.key)))
    columns.append(("state", False, lambda entry: entry.state.value.lower()))
    if content.of_configurations:
        columns.append(("seeds", False, lambda entry: entry.seeds))
    columns += [_metric_column(name) for name in metrics]
    if any(entry.standing for entry in content.entries):
        heading = "95 % interval" if len(metrics) == 1 else f"95 % interval of {metrics[0]}"
        columns.append((heading, False, _interval))
    columns += [_parameter_column(content, name) for name in content.searched[:MOST_PARAMS]]
    columns += [_metric_column(name) for name in also]
    return [*columns, ("time [s]", True, lambda entry: seconds_of(entry.trials))]


def _metric_column(name: str) -> _Column:
    return name, True, lambda entry: metric_text(name, entry.values.get(name))


def _parameter_column(content: StudyContent, name: str) -> _Column:
    return name, not holds_text(content, name), lambda entry: setting(entry.params.get(name))


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
            f"effects{at or ''}", effects.title, describe_rows(rows, f"Effects on {effects.metric} of {len(rows)}"),
            interval_plot(rows, f"difference in {bare_metric(effects.metric)}", reference=0.0), table, note,
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
                                    "" if standing.rank_low == standing.rank_high == 0 else rank_words(standing),
                                    image_set.name if at == 0 else ""))  # fmt: skip
    table = Table(
        ("images", "", "value", "95 % interval"),
        tuple((image_set.name, content.labels[key], number(image_set.standings[key].value),
               between(image_set.standings[key].low, image_set.standings[key].high))
              for image_set in sets for key in keys if key in image_set.standings),
        frozenset({2}),
    )  # fmt: skip
    canvas = interval_plot(rows, bare_metric(sets[0].metric))
    note = "Diamond: the leader on validation. To the right the ranks on that set."
    told = describe_rows(rows, f"Values on {len(sets)} sets")
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

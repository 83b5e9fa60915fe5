"""The command that writes the report of a study, or of two runs: report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Metric, ReadUri, Results
from cli.output import number, require_output, short_path, write_output
from study.errors import UsageError
from study.files import expand_home

if TYPE_CHECKING:
    from cli.queries.ranking import Ranking
    from cli.queries.study_handle import StudyInFolder
    from study.records import TrialRecord
    from study.report.content import Predictions, RunPair, Verdict
    from study.report.elements import Document


class ReportFormat(StrEnum):
    """A format of the report."""

    HTML = "html"
    MARKDOWN = "markdown"


Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Name of a study, default: the newest; two runs A and B compare those, after a NAME their numbers do.",
        metavar="[NAME] [A B]",
    ),
]
Shape = Annotated[
    ReportFormat | None, typer.Option("--format", help="What to write; default: what --out ends with, else html.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="The file to write; default: NAME-report.html, or .md.", metavar="FILE",
                 parser=expand_home),
]  # fmt: skip
Figures = Annotated[
    Path | None,
    typer.Option("--figures", help="Write each figure into this folder too, as .svg.", metavar="DIR",
                 parser=expand_home),
]  # fmt: skip


def report(
    names: Names = None,
    metric: Metric = None,
    shape: Shape = None,
    out: Out = None,
    figures: Figures = None,
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
) -> None:
    """Write a report of a study, or of two runs, as one self-contained file: the answer first, then what it rests on."""
    if tracking_uri:
        raise UsageError(
            "a report needs the trials' predictions, which are in the results folder and not on the server, so it "
            "cannot go with --tracking-uri; the report of an ended study is the artifact report.html of its run there"
        )
    chosen = _format_of(shape, out)
    if out is not None:
        require_output(out)
    study, runs = _named(names or [])
    if runs is None:
        from cli.queries.report_content import report_document

        document = report_document(results, study, metric)
    else:
        document = _pair_document(results, runs, metric)
    name = document.title.replace("/", "-").replace("\0", "") if runs is not None else document.title
    _write(document, chosen, out or Path(_file_name(name, chosen)), figures)


_SUFFIXES = {".html": ReportFormat.HTML, ".htm": ReportFormat.HTML, ".md": ReportFormat.MARKDOWN,
             ".markdown": ReportFormat.MARKDOWN}  # fmt: skip


def _format_of(asked: ReportFormat | None, out: Path | None) -> ReportFormat:
    """Return the format that was asked for, or that the file's name tells.

    Raises:
        UsageError: both are there and differ.
    """
    told = None if out is None else _SUFFIXES.get(out.suffix.lower())
    if asked is not None and told is not None and asked is not told:
        raise UsageError(
            f"--format {asked} and the name of --out must agree, but {out} is that of a file of {told}; leave out one"
        )
    return asked or told or ReportFormat.HTML


def _named(names: Sequence[str]) -> tuple[str | None, tuple[str, str] | None]:
    """Return the study, or the two runs that are to be compared.

    Raises:
        UsageError: there are more names than that.
    """
    if len(names) == 3:
        study, first, second = names
        return study, (_run_of(study, first), _run_of(study, second))
    if len(names) == 2:
        return None, (names[0], names[1])
    if len(names) > 3:
        raise UsageError(f"report takes a study, two runs, or a study and two numbers of its trials, got {len(names)}")
    return (names[0] if names else None), None


def _run_of(study: str, trial: str) -> str:
    if not trial.isdecimal():
        raise UsageError(f"after a study's name come the numbers of two trials, as in `{study} 3 7`, got `{trial}`")
    return f"{study}/{trial}"


def _pair_document(results: Path, runs: tuple[str, str], metric: str | None) -> Document:
    from study.report.comparison import pair_document

    return pair_document(_pair(results, runs, metric))


def _pair(results: Path, names: tuple[str, str], metric: str | None) -> RunPair:
    """Gather what two runs are compared by.

    Raises:
        UsageError: a run is named wrongly, both are the same, or one lacks the metric.
        StudyStorageError: there is no such study or run.
    """
    from cli.commands.results.diff import find_differences
    from cli.queries.trial_names import find_trial
    from cli.views.run import with_origin
    from study.config.search_config import Objective
    from study.report.content import RunPair

    (study, first), (other, second) = (find_trial(results, name, epochs=True) for name in names)
    if (first.study, first.trial) == (second.study, second.trial):
        raise UsageError(f"two different runs are compared, but both are {first.study}/{first.trial}")
    ranking = _ranking_of(study, other, metric)
    labels = tuple(f"{record.study}/{record.trial}" if first.study != second.study else f"trial {record.trial}"
                   for record in (first, second))  # fmt: skip
    verdict, answer = _judge_pair(results, ranking, (study, other), (first, second), labels)
    differences = find_differences(with_origin(study, first), with_origin(other, second))
    differing = tuple(
        (part, name, _word(pair[0]), _word(pair[1]))
        for part, pairs in vars(differences).items() if part != "measured" for name, pair in pairs.items()
    )  # fmt: skip
    return RunPair(
        Objective(metric=ranking.metric, mode=ranking.mode), (first, second), (labels[0], labels[1]), answer, verdict,
        differing, _pair_predictions(results, study, (first, second), labels), study.classes,
        (f"study diff {shlex.quote(names[0])} {shlex.quote(names[1])}{study.layout.results_option}",),
        _of_configurations(results, study, first, second, ranking.metric),
    )  # fmt: skip


def _of_configurations(
    results: Path, study: StudyInFolder, first: TrialRecord, second: TrialRecord, metric: str
) -> tuple[str, ...]:
    """Return what is known of the two runs' configurations, where both ran with several seeds."""
    from cli.queries.pair import compare_sides, side_of_trial

    if first.study != second.study or first.point == second.point or study.replicates == 1:
        return ()
    try:
        sides = [side_of_trial(study, record, metric, trials=False) for record in (first, second)]
    except UsageError:  # one of them has no seed that ended with the metric
        return ()
    pair = compare_sides(sides[0], sides[1], results)
    if pair.basis != "predictions":
        return ()
    return (f"Their configurations, {first.point} and {second.point}, over their seeds: {pair.text}.", *pair.notes)


def _word(value: Any) -> str:
    return "-" if value is None else number(value, 6)


def _ranking_of(study: StudyInFolder, other: StudyInFolder, metric: str | None) -> Ranking:
    """Return the ranking of the first run's study by one metric, which the other one's must have too."""
    from cli.queries.ranking import rank_studies

    chosen = metric or study.objective_list[0].metric
    studies = [study] if other.name == study.name else [study, other]
    return rank_studies(studies, chosen, trials=True)


def _judge_pair(
    results: Path,
    ranking: Ranking,
    studies: tuple[StudyInFolder, StudyInFolder],
    records: tuple[TrialRecord, TrialRecord],
    labels: tuple[str, ...],
) -> tuple[Verdict | None, str]:
    """Return the contrast of two runs by their stored predictions, and in words."""
    from cli.queries.stored_predictions import NoPredictionsError, judge_stored
    from study.report.content import Verdict

    metric = ranking.metric
    values = [record.metrics.get(metric) for record in records]
    if None in values:
        lacking = labels[values.index(None)]
        raise UsageError(f"both runs must have ended with a checkpoint that has {metric}, but {lacking} has none")
    plain = f"{labels[0]} {number(values[0])}, {labels[1]} {number(values[1])} in {metric}"
    if studies[0].fingerprint != studies[1].fingerprint:
        return None, f"{plain}; they saw different data, so that nothing can be said of the difference"
    rows = [row for record in records for row in ranking.rows
            if (row.record.study, row.record.trial) == (record.study, record.trial) and row.rank is not None]  # fmt: skip
    pair = replace(ranking, rows=rows, configurations=(), studies=ranking.studies[:1], objective_list=())
    try:
        stored = judge_stored(pair, results)
        if len(stored.keys) != 2:
            raise NoPredictionsError("one of them has not ended with a checkpoint")
    except NoPredictionsError as error:
        return None, f"{plain}; how certain the difference is cannot be said: {error}"
    judgement = stored.judgement
    lead = judgement.differences[0]
    better, worse = labels[judgement.leader], labels[judgement.others[0]]
    surely = "is better than" if judgement.verdict == "yes" else "is not surely better than"
    images = stored.comparison.runs.units.shape[1]
    answer = (
        f"{better} {surely} {worse}: {lead.value:+.2g} ({lead.low:.2g} to {lead.high:.2g}, p {lead.p:.2g}) in {metric} "
        f"on {images:,} images like these; another seed of either is another question"
    )
    return Verdict(stored.comparison, judgement, (0, 1)), answer


def _pair_predictions(
    results: Path, study: StudyInFolder, records: tuple[TrialRecord, TrialRecord], labels: tuple[str, ...]
) -> tuple[Predictions, ...]:
    from cli.queries.report_content import predictions_of

    return tuple(predictions_of(results, records, (0, 1), labels, study.classes))


def _file_name(title: str, shape: ReportFormat) -> str:
    """Return a name for the report's file in the current folder."""
    from study.paths import encode_name

    return f"{encode_name(title)[:120]}-report.{'html' if shape is ReportFormat.HTML else 'md'}"


def _write(document: Document, shape: ReportFormat, out: Path, figures: Path | None) -> None:
    from study.report.markdown import markdown_document
    from study.report.page import html_page, standalone_svg

    drawn = [figure for section in document.sections for figure in section.figures]
    if figures is not None:
        for figure in drawn:
            write_output(figures / f"{figure.key}.svg", standalone_svg(figure))
    if shape is ReportFormat.HTML:
        text = html_page(document)
    else:
        text = markdown_document(document, None if figures is None else _as_seen_from(figures, out.parent))
    write_output(out, text)
    typer.echo(document.answer)
    more = "" if figures is None else f", and {len(drawn)} figures in {figures}"
    typer.echo(f"wrote {short_path(str(out.absolute()))}, {len(text.encode()) / 1e6:.2f} MB{more}")


def _as_seen_from(folder: Path, place: Path) -> str:
    import os

    return Path(os.path.relpath(folder.absolute(), place.absolute())).as_posix()

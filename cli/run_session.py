"""Start or resume a study with its recorders: the tracker, the figures and the live view."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer

from cli.options import SharedRunOptions
from cli.output import print_json
from cli.supervisor import leave_last_words
from study.events import EpochEvents, Event, Recorder
from study.paths import StudyLayout
from study.records import TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.config.study_config import StudySpec
    from study.data.dataset import DataBundle
    from study.engine.run_context import RunContext
    from study.events import StudyEnded


class RecorderGroup:
    """A recorder that passes everything on to several others, in order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def record(self, event: Event) -> None:
        """Pass one event on."""
        for recorder in self._recorders:
            recorder.record(event)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        """Pass earlier trials on."""
        for recorder in self._recorders:
            recorder.catch_up(records, at_s, reports)

    def close(self) -> None:
        """Close all, the last first: the live view ends before the tracker, which may still be sending."""
        for recorder in reversed(self._recorders):
            recorder.close()


def with_figures(
    inner: Recorder, layout: StudyLayout, classes: tuple[str, ...], images: NDArray[np.uint8], names: Sequence[str]
) -> Recorder:
    """Return a recorder that also draws every finished trial, and the report when the study ends.

    Images and names are those of validation, in order.
    """
    from study.figures.background_renderer import FigureRenderer

    return FigureRenderer(inner, layout, classes, images, names, report=partial(_report_page, layout))


def _report_page(layout: StudyLayout, event: StudyEnded) -> str:
    from cli.queries.report_content import report_document
    from study.report.page import html_page

    return html_page(report_document(layout.results, layout.name, state=event.outcome.value))


class WarningLines(logging.Handler):
    """Show warnings of one logger as lines on the screen; its log file has them too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        self._say(record.getMessage())


EXIT_INTERRUPTED = 130


def start_with_live_view(layout: StudyLayout, spec: StudySpec, text: str, options: SharedRunOptions) -> None:
    """Run a new study; ``text`` is that of its file."""

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import start_study

        return start_study(spec, text, layout, context)

    _run_with_live_view(layout, spec, options, options.tracking_uri, start)


def resume_with_live_view(
    layout: StudyLayout, spec: StudySpec, options: SharedRunOptions, *, extended: bool = False
) -> None:
    """Go on with a stored study; ``extended`` says that its spec has more in it than what is stored."""
    from tracking.run_ids import tracking_uri_of

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(layout, context, extended=spec if extended else None)

    _run_with_live_view(layout, spec, options, tracking_uri_of(layout, options.tracking_uri), start)


def _run_with_live_view(
    layout: StudyLayout,
    spec: StudySpec,
    options: SharedRunOptions,
    tracking_uri: str | None,
    start: Callable[[RunContext], StudyEnded],
) -> None:
    """Run with a live view on the real screen; the output of everything else goes to the study's log."""
    from cli.queries.study_handle import checkpoints_by_run
    from cli.views.live import open_view
    from study.engine.driver_process import quiet_output
    from study.engine.run_context import RunContext
    from study.paths import Layout
    from tracking.exporter.recorder import OutboxRecorder
    from tracking.run_ids import point_to
    from tracking.tracking_uri import default_tracking_uri, mask_uri

    results = Layout(options.results)
    uri = default_tracking_uri(results, tracking_uri)
    is_away = not reach_tracking(spec.name, uri, options)
    with (
        quiet_output(layout.log) as screen,
        open_view(spec, layout, screen.err if options.json else screen.out) as view,
    ):

        def recorder(data: DataBundle) -> Recorder:
            point_to(layout.runs, mask_uri(uri))
            tracker = OutboxRecorder(
                layout, uri, apart=True, known_away=is_away, close_timeout_s=options.tracking_wait_s
            )
            return RecorderGroup([with_figures(tracker, layout, data.classes, data.val.images, data.val.names), view])

        leave_last_words(
            f"every finished epoch of {spec.name} is stored; go on with: {layout.command('resume')} (log: {layout.log})"
        )
        handler = WarningLines(view.say)
        logging.getLogger("tracking").addHandler(handler)
        try:
            runs = partial(checkpoints_by_run, options.results)
            ended = start(RunContext(recorder, view.callbacks(), runs, options.address, options.storage))
        finally:
            logging.getLogger("tracking").removeHandler(handler)
    _print_end(ended, spec, layout, options)


def _print_end(ended: StudyEnded, spec: StudySpec, layout: StudyLayout, options: SharedRunOptions) -> None:
    """Print how a study ended and which commands may come next.

    Raises:
        EngineError: there is nothing to go on with.
        typer.Exit: the study was interrupted.
    """
    from study.errors import EngineError
    from study.records import StudyOutcome
    from study.utils.streams import OutputError

    try:
        if ended.outcome in (StudyOutcome.INTERRUPTED, StudyOutcome.STOPPED):
            typer.echo(f"stopped; go on with: {layout.command('resume')}", err=options.json)
        elif not options.json and ended.best is not None:
            typer.echo("next: " + "   ".join(map(layout.command, ("best", "compare", "ui"))))
        if options.json:
            print_json(
                {"study": ended.study, "outcome": ended.outcome.value, "counts": ended.counts, "log": str(layout.log)}
            )
    except OutputError:
        if ended.outcome is not StudyOutcome.INTERRUPTED:  # by SIGHUP, as it seems: the terminal is gone
            raise
    if ended.outcome is StudyOutcome.INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)
    if ended.best is None and ended.outcome is not StudyOutcome.STOPPED:
        raise EngineError(
            f"a study needs a trial that ends with a checkpoint, but all failed; `{layout.command('show')}` says why"
        )


def reach_tracking(study: str, uri: str, options: SharedRunOptions) -> bool:
    """Return whether the tracking server can be used now; print why where it cannot.

    Raises:
        TrackingError: a person must mend something first, or the server is required.
        UsageError: the tracking URI cannot mean a place to track to.
    """
    from study.errors import TrackingError
    from study.paths import Layout
    from tracking.client.preflight import preflight
    from tracking.tracking_uri import mask_uri

    if (fault := preflight(Layout(options.results), uri, study)) is None:
        return True
    sync = Layout(options.results).study(study).command("sync")
    reason = f"MLflow at {mask_uri(uri)} cannot be used now: {fault}"
    if options.require_tracking:
        raise TrackingError(f"{reason}; without --require-tracking the study goes on and `{sync}` sends it later")
    typer.echo(f"{reason}; the study goes on offline, `{sync}` sends it later, --require-tracking stops here", err=True)
    return False

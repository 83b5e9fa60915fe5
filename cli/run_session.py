"""Run a study with a live view on the real screen and everybody else's output in its log."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.options import RESULTS, print_json
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
    """A recorder that hands everything to several others, in order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def record(self, event: Event) -> None:
        """Hand one event on."""
        for recorder in self._recorders:
            recorder.record(event)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        """Hand earlier trials on."""
        for recorder in self._recorders:
            recorder.catch_up(records, at_s, reports)

    def close(self) -> None:
        """Close all, the last first, so that the screen rests while the tracker still sends."""
        for recorder in reversed(self._recorders):
            recorder.close()


def with_figures(
    inner: Recorder, layout: StudyLayout, classes: tuple[str, ...], images: NDArray[np.uint8], names: Sequence[str]
) -> Recorder:
    """Return a recorder that also draws every finished trial; images and names are those of validation, in order."""
    from study.figures.background_renderer import FigureRenderer

    return FigureRenderer(inner, layout, classes, images, names)


class WarningLines(logging.Handler):
    """Show warnings of one logger as lines on the screen; its log file has them too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        self._say(record.getMessage())


EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class StudyLocation:
    """What the options of a command say of its surroundings."""

    results: Path
    address: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    json: bool = False
    require_tracking: bool = False


def run_with_live_view(
    spec: StudySpec, layout: StudyLayout, start: Callable[[RunContext], StudyEnded], where: StudyLocation
) -> None:
    """Run with a live view on the real screen and everybody else's output in the study's log."""
    from cli.studies import checkpoints_by_run
    from cli.views.live import open_view
    from study.engine.process import quiet_output
    from study.engine.run_context import RunContext
    from study.paths import Layout
    from tracking.exporter.recorder import open_recorder
    from tracking.run_ids import point_to
    from tracking.tracking_uri import default_tracking_uri, mask_uri

    results, json = where.results, where.json
    uri = default_tracking_uri(Layout(results), where.tracking_uri)
    away = not _look_ahead(spec.name, uri, where)
    with quiet_output(layout.log) as screen, open_view(spec, layout, screen.err if json else screen.out) as view:

        def recorder(data: DataBundle) -> Recorder:
            point_to(layout.runs, mask_uri(uri))
            tracker = open_recorder(Layout(results), layout, uri, apart=True, known_away=away)
            return RecorderGroup([with_figures(tracker, layout, data.classes, data.val.images, data.val.names), view])

        handler = WarningLines(view.say)
        logging.getLogger("tracking").addHandler(handler)
        try:
            runs = partial(checkpoints_by_run, results)
            ended = start(RunContext(recorder, view.progress(), runs, where.address, where.storage))
        finally:
            logging.getLogger("tracking").removeHandler(handler)
    _say_how_it_ended(ended, spec, layout, where)


def _say_how_it_ended(ended: StudyEnded, spec: StudySpec, layout: StudyLayout, where: StudyLocation) -> None:
    """Say what may come next.

    Raises:
        EngineError: there is nothing to go on with.
        typer.Exit: the study was interrupted.
    """
    from study.errors import EngineError
    from study.records import StudyOutcome

    results, json = where.results, where.json
    if ended.outcome in (StudyOutcome.INTERRUPTED, StudyOutcome.STOPPED):
        typer.echo(f"stopped; go on with: study resume {quoted(spec.name)}{results_option(results)}", err=json)
    elif not json and ended.best is not None:
        name, option = quoted(spec.name), results_option(results)
        typer.echo(f"next: study best {name}{option}   study compare {name}{option}   study ui{option}")
    if json:
        print_json(
            {"study": ended.study, "outcome": ended.outcome.value, "counts": ended.counts, "log": str(layout.log)}
        )
    if ended.outcome is StudyOutcome.INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)
    if ended.best is None and ended.outcome is not StudyOutcome.STOPPED:
        raise EngineError(
            f"a study needs a trial that ends with a checkpoint, but all failed; `study show {quoted(spec.name)}"
            f"{results_option(results)}` says why"
        )


def _look_ahead(study: str, uri: str, where: StudyLocation) -> bool:
    """Say that the tracking server is away, if it is; return whether it is there.

    Raises:
        TrackingError: a person must mend something first, or wants the server to be there.
        UsageError: the tracking URI cannot mean a place to track to.
    """
    from study.errors import TrackingError
    from study.paths import Layout
    from tracking.client.preflight import preflight
    from tracking.tracking_uri import mask_uri

    if (fault := preflight(Layout(where.results), uri, study)) is None:
        return True
    said = f"MLflow at {mask_uri(uri)} cannot be used now: {fault}"
    if where.require_tracking:
        raise TrackingError(f"{said}; without --require-tracking the study goes on and `study sync` sends it later")
    sync = f"study sync {quoted(study)}{results_option(where.results)}"
    typer.echo(f"{said}; the study goes on offline, `{sync}` sends it later, --require-tracking stops here", err=True)
    return False


def quoted(name: str) -> str:
    """Return a name as it must stand in a shell."""
    return shlex.quote(name)


def results_option(results: Path) -> str:
    """Return the option that names a results folder, nothing for the usual one."""
    return "" if results == RESULTS else f" --results {quoted(str(results))}"

"""Run a study with a live view on the real screen and everybody else's output in its log."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.options import RESULTS
from cli.output import print_json

if TYPE_CHECKING:
    from study.data.bundle import DataBundle
    from study.engine.surroundings import Surroundings
    from study.events import Recorder, StudyEnded
    from study.layout import StudyLayout
    from study.spec import StudySpec

EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Where:
    """What the options of a command say of its surroundings."""

    results: Path
    address: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    json: bool = False
    require_tracking: bool = False


def watch(spec: StudySpec, layout: StudyLayout, start: Callable[[Surroundings], StudyEnded], where: Where) -> None:
    """Run with a live view on the real screen and everybody else's output in the study's log."""
    from cli.live import open_view
    from cli.reading import checkpoints_by_run
    from cli.recorders import Tee, WarningLines, illustrated
    from study.engine.quiet import quiet
    from study.engine.surroundings import Surroundings
    from study.layout import Layout
    from tracking.runs import point_to
    from tracking.sending.recorder import open_recorder
    from tracking.uri import default_tracking_uri, mask_uri

    results, json = where.results, where.json
    uri = default_tracking_uri(Layout(results), where.tracking_uri)
    away = not _look_ahead(spec.name, uri, where)
    with quiet(layout.log) as screen, open_view(spec, layout, screen.err if json else screen.out) as view:

        def recorder(data: DataBundle) -> Recorder:
            point_to(layout.runs, mask_uri(uri))
            tracker = open_recorder(Layout(results), layout, uri, apart=True, known_away=away)
            return Tee([illustrated(tracker, layout, data.classes, data.val.images, data.val.names), view])

        handler = WarningLines(view.say)
        logging.getLogger("tracking").addHandler(handler)
        try:
            runs = partial(checkpoints_by_run, results)
            ended = start(Surroundings(recorder, view.progress(), runs, where.address, where.storage))
        finally:
            logging.getLogger("tracking").removeHandler(handler)
    _say_how_it_ended(ended, spec, layout, where)


def _say_how_it_ended(ended: StudyEnded, spec: StudySpec, layout: StudyLayout, where: Where) -> None:
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


def _look_ahead(study: str, uri: str, where: Where) -> bool:
    """Say that the tracking server is away, if it is; return whether it is there.

    Raises:
        TrackingError: a person must mend something first, or wants the server to be there.
        UsageError: the tracking URI cannot mean a place to track to.
    """
    from study.errors import TrackingError
    from study.layout import Layout
    from tracking.server.preflight import preflight
    from tracking.uri import mask_uri

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

"""Say how a study that exists already may go on: as it is, or with more of the same."""

from __future__ import annotations

import shlex
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    RESULTS,
    Address,
    Json,
    Overrides,
    RequireTracking,
    Results,
    Storage,
    StudyFile,
    TrackingUri,
    print_json,
)
from study.errors import StudyStorageError, UsageError

if TYPE_CHECKING:
    from cli.run_session import StudyLocation
    from study.config.study_config import StudySpec
    from study.engine.run_context import RunContext
    from study.events import StudyEnded
    from study.paths import StudyLayout
    from study.storage.study_storage import StudyStorage


_SECTIONS = ("search", "budget", "replicates", "keep", "resources")


def extension_of(layout: StudyLayout, spec: StudySpec) -> StudySpec:
    """Return what a stored study becomes when its changed file only adds to it.

    Raises:
        StudyStorageError: the file says the same as before, or changes what has been run.
    """
    from study.config.diff import changes
    from study.storage.study_attributes import refuse_existing
    from study.storage.study_storage import StudyStorage

    storage = StudyStorage.open(layout)
    found = changes(_as_given(storage), spec)
    if not found:
        refuse_existing(layout, spec.name)
    differing = [one for one in found if not one.extends]
    if differing:
        listed = "\n".join(f"  {one}" for one in found)
        raise StudyStorageError(
            f"a study's file must stay the same or only add to it, but `{spec.name}` exists and differs:\n{listed}\n"
            f"`study resume {shlex.quote(spec.name)}` goes on with it as it is, `study run FILE --name OTHER` starts "
            "another"
        )
    wanted = _with_sections(storage.spec, spec)
    require_effect(storage, wanted)
    return wanted


def _as_given(storage: StudyStorage) -> StudySpec:
    """Return the study as its file gave it, dropped values included, with what extensions added since."""
    return _with_sections(storage.given, storage.spec)


def _with_sections(spec: StudySpec, other: StudySpec) -> StudySpec:
    return spec.model_copy(update={name: getattr(other, name) for name in _SECTIONS})


@dataclass(frozen=True)
class Additions:
    """What a study is to have more of; None adds nothing."""

    trials: int | None = None
    replicates: int | None = None
    wall_clock: str | None = None
    accelerator_hours: float | None = None
    failures: int | None = None
    no_target: bool = False


def extend_study(spec: StudySpec, more: Additions) -> StudySpec:
    """Return a study with so much more of each; the numbers are added to what it had.

    Raises:
        UsageError: there is nothing to add to, or too much would come of it.
    """
    from pydantic import ValidationError

    values = spec.model_dump()
    values["search"]["trials"] += _more_of_search(spec, more)
    values["budget"] = _larger_budget(spec, more)
    if more.replicates is not None:
        values["replicates"] = {"seeds": _more_seeds(spec.replicates.numbers, more.replicates)}
    try:
        return type(spec).model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"an extended study must still be a valid one, but {where}: {first['msg']}") from error


def _more_of_search(spec: StudySpec, more: Additions) -> int:
    """Return how many more trials a search plans: as asked, else what more seeds take for as many points as before."""
    if spec.design.kind != "search":
        return 0
    if more.trials is not None:
        return more.trials
    if more.replicates is None:
        return 0
    seeds = len(spec.replicates.numbers)
    points = -(-spec.search.trials // seeds)
    return points * (seeds + more.replicates) - spec.search.trials


def _larger_budget(spec: StudySpec, more: Additions) -> dict[str, object]:
    budget = spec.budget.model_dump()
    if more.trials is not None and budget["trials"] is None and spec.design.kind != "search":
        raise UsageError(
            f"--trials adds to a search or to budget.trials, but a {spec.design.kind} has every point it can have; "
            "--replicates N runs each of them with more seeds"
        )
    for name in ("trials", "accelerator_hours", "failures"):
        added = getattr(more, name)
        if added is not None and budget[name] is not None:
            budget[name] += added
        elif added is not None and name != "trials":
            raise UsageError(f"--{name.replace('_', '-')} adds to budget.{name}, but the study has no such limit")
    if more.wall_clock is not None:
        budget["wall_clock"] = _longer(spec, more.wall_clock)
    if more.no_target:
        budget["target"] = {}
    return budget


def _longer(spec: StudySpec, more: str) -> str:
    from study.config.search_config import seconds_of

    if spec.budget.wall_clock_s is None:
        raise UsageError("--wall-clock adds to budget.wall_clock, but the study has no such limit")
    try:
        return f"{spec.budget.wall_clock_s + seconds_of(more):.15g} s"
    except ValueError as error:
        raise UsageError(f"--wall-clock: {error}") from error


def _more_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    first = max(seeds) + 1
    return (*seeds, *range(first, first + count))


def require_effect(storage: StudyStorage, wanted: StudySpec) -> None:
    """Make sure that an extended study has something to do.

    Raises:
        UsageError: what ended it is still in force, or its space has no further point.
    """
    from study.config.diff import changes
    from study.records import StopReason

    options = {
        StopReason.TARGET: ("budget.target.", "--no-target"),
        StopReason.TIME_BUDGET: ("budget.wall_clock", "--wall-clock TIME"),
        StopReason.ACCELERATOR_BUDGET: ("budget.accelerator_hours", "--accelerator-hours H"),
        StopReason.FAILURES: ("budget.failures", "--failures N"),
    }
    found = [one.field for one in changes(storage.spec, wanted)]
    if storage.end_reason in options:
        field, option = options[storage.end_reason]
        if not any(one.startswith(field) for one in found):
            raise UsageError(
                f"`{storage.name}` ended for this reason: {storage.end_reason.value}, which still holds; add {option}"
            )
    if storage.exhausted and set(found) <= {"search.trials", "budget.trials"}:
        raise UsageError(
            f"`{storage.name}` has run every point of its space, {sum(storage.counts().values())} trials; "
            "--replicates N runs each of them with more seeds"
        )


NewName = Annotated[str | None, typer.Option("--name", help="Another name for the study than the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Another number of trials.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("run")(run)
    app.command("validate")(validate)


def run(
    file: StudyFile,
    name: NewName = None,
    trials: Trials = None,
    overrides: Overrides = None,
    address: Address = None,
    storage: Storage = None,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    require_tracking: RequireTracking = False,
    json: Json = False,
) -> None:
    """Run a study file: trials in parallel, every run in MLflow; a file that only grew extends its study."""
    from cli.run_session import StudyLocation, run_with_live_view
    from study.config_file import load_spec
    from study.errors import DataError, WeightsError
    from study.paths import Layout

    loaded = load_spec(file, overrides or (), name=name, trials=trials)
    spec = _anchored(loaded.spec)
    layout = Layout(results).study(spec.name)
    if layout.journal.exists():
        _go_on(
            extension_of(layout, spec),
            layout,
            StudyLocation(results, address, storage, tracking_uri, json, require_tracking),
        )
        return
    fresh = not layout.root.exists()

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import start_study

        return start_study(spec, loaded.text, layout, context)

    try:
        run_with_live_view(
            spec, layout, start, StudyLocation(results, address, storage, tracking_uri, json, require_tracking)
        )
    except (DataError, WeightsError, KeyboardInterrupt) as stop:
        if fresh:  # after any other fault the log is worth keeping
            _remove_if_nothing_began(layout)
        if isinstance(stop, KeyboardInterrupt) and not layout.journal.exists():
            typer.echo("stopped before anything began", err=True)
        raise


def _remove_if_nothing_began(layout: StudyLayout) -> None:
    """Remove a study's folder unless it has a storage or is another driver's, which may just have begun."""
    from study.errors import StudyStorageError
    from study.storage.lock import driver_lock

    with suppress(StudyStorageError), driver_lock(layout):
        if not layout.journal.exists():
            shutil.rmtree(layout.root, ignore_errors=True)


def _go_on(wanted: StudySpec, layout: StudyLayout, where: StudyLocation) -> None:
    """Go on with an existing study whose file only adds to it."""
    from cli.run_session import run_with_live_view
    from study.config.diff import changes
    from study.storage.study_storage import StudyStorage
    from tracking.run_ids import tracking_uri_of

    def start(context: RunContext) -> StudyEnded:
        from study.engine.runner import resume_study

        return resume_study(layout, context, extended=wanted)

    found = changes(StudyStorage.open(layout).spec, wanted)
    typer.echo(f"{wanted.name} exists and is extended: {'; '.join(map(str, found))}", err=where.json)
    run_with_live_view(wanted, layout, start, replace(where, tracking_uri=tracking_uri_of(layout, where.tracking_uri)))


def validate(
    file: StudyFile, name: NewName = None, trials: Trials = None, overrides: Overrides = None, json: Json = False
) -> None:
    """Check a study file; print every fault with its place."""
    from study.config_file import load_spec
    from study.designs import trials_in_words
    from study.errors import SpecError

    try:
        spec = load_spec(file, overrides or (), name=name, trials=trials).spec
    except SpecError as error:
        if json:
            print_json({"valid": False, "faults": [asdict(fault) for fault in error.faults]})
        raise
    if json:
        print_json({"valid": True, "spec": spec.model_dump(mode="json")})
        return
    over = f" over {', '.join(spec.searched())}" if spec.searched() else ""
    epochs = spec.trial.max_epochs
    typer.echo(f"{file}: valid; {trials_in_words(spec)} of up to {epochs} epoch{'s' * (epochs > 1)}{over}")


def _anchored(spec: StudySpec) -> StudySpec:
    """Make the data's paths absolute, so that a resume from another folder finds them."""
    path = None if spec.data.path is None else _absolute(spec.data.path)
    shifted = {name: _absolute(one) for name, one in spec.data.shifted.items()}
    return spec.model_copy(update={"data": spec.data.model_copy(update={"path": path, "shifted": shifted})})


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())

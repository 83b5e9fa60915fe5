"""The command that gives a study more to do: extend; and what a study file that only grew adds to its study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Name, SharedRunOptions, takes_run_options
from study.errors import StudyStorageError, UsageError

if TYPE_CHECKING:
    from study.config.study_config import StudySpec
    from study.paths import StudyLayout
    from study.storage.study_storage import StudyStorage


@takes_run_options
def extend(
    name: Name = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="So many more trials.", metavar="N")] = None,
    replicates: Annotated[
        int | None, typer.Option("--replicates", min=1, help="So many more seeds for every point.", metavar="N")
    ] = None,
    wall_clock: Annotated[
        str | None, typer.Option("--wall-clock", help="So much more time, as in '1 h 30 min'.", metavar="TIME")
    ] = None,
    accelerator_hours: Annotated[
        float | None, typer.Option("--accelerator-hours", help="So many more hours of GPUs.", metavar="H")
    ] = None,
    failures: Annotated[
        int | None, typer.Option("--failures", min=1, help="So many more failed trials.", metavar="N")
    ] = None,
    no_target: Annotated[bool, typer.Option("--no-target", help="Go on although the target is met.")] = False,
    *,
    options: SharedRunOptions,
) -> None:
    """Give a study more trials, seeds or budget, and go on with it; the sampler knows all that was run."""
    from cli.queries.study_handle import open_study
    from cli.run_session import resume_with_live_view
    from study.designs.changes import changes
    from study.storage.study_storage import StudyStorage

    study = open_study(options.results, name)
    more = Additions(trials, replicates, wall_clock, accelerator_hours, failures, no_target)
    extended = extend_study(study.view.spec, more)
    differences = changes(study.view.spec, extended)
    if not differences:
        raise UsageError("extend needs something to add, as in --trials 20; see `study extend --help`")
    require_effect(StudyStorage.open(study.layout), extended)
    typer.echo(f"{study.name} is extended: {'; '.join(map(str, differences))}", err=options.json)
    resume_with_live_view(study.layout, extended, options, extended=True)


_SECTIONS = ("search", "budget", "replicates", "keep", "resources")


def extension_of(layout: StudyLayout, spec: StudySpec) -> StudySpec:
    """Return what a stored study becomes when its changed file only adds to it.

    Raises:
        StudyStorageError: the file says the same as before, or changes what has been run.
    """
    from study.designs.changes import changes, with_levels
    from study.storage.study_attributes import refuse_existing
    from study.storage.study_storage import StudyStorage

    storage = StudyStorage.open(layout)
    known = _with_sections(storage.given, storage.spec)  # as the file gave it, and extensions since
    known = known.model_copy(update={"space": with_levels(known.space, storage.spec.space)})
    differences = changes(known, spec)
    if not differences:
        refuse_existing(layout, spec.name)
    if not all(difference.extends for difference in differences):
        listed = "\n".join(f"  {difference}" for difference in differences)
        raise StudyStorageError(
            f"a study's file must stay the same or only add to it, but `{spec.name}` exists and differs:\n{listed}\n"
            f"`{layout.command('resume')}` goes on with it as it is, `study run FILE --name OTHER` starts another"
        )
    extended = _with_sections(storage.spec, spec)
    space = with_levels(extended.space, spec.space, known.space)
    places = {"path": spec.data.path, "shifted": spec.data.shifted}
    extended = extended.model_copy(update={"space": space, "data": extended.data.model_copy(update=places)})
    require_effect(storage, extended)
    return extended


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
        seeds = spec.replicates.numbers
        values["replicates"] = {"seeds": (*seeds, *range(max(seeds) + 1, max(seeds) + 1 + more.replicates))}
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


def require_effect(storage: StudyStorage, extended: StudySpec) -> None:
    """Make sure that an extended study has something to do.

    Raises:
        UsageError: what ended it is still in force, or its space has no further point.
    """
    from study.designs.changes import changes
    from study.records import StopReason

    options = {
        StopReason.TARGET: ("budget.target.", "--no-target"),
        StopReason.TIME_BUDGET: ("budget.wall_clock", "--wall-clock TIME"),
        StopReason.ACCELERATOR_BUDGET: ("budget.accelerator_hours", "--accelerator-hours H"),
        StopReason.FAILURES: ("budget.failures", "--failures N"),
    }
    changed = [difference.field for difference in changes(storage.spec, extended)]
    if storage.end_reason in options:
        field, option = options[storage.end_reason]
        if not any(name.startswith(field) for name in changed):
            raise UsageError(
                f"`{storage.name}` ended for this reason: {storage.end_reason.value}, which still holds; add {option}"
            )
    if storage.exhausted and set(changed) <= {"search.trials", "budget.trials"}:
        raise UsageError(
            f"`{storage.name}` has run every point of its space, {sum(storage.counts().values())} trials; "
            "--replicates N runs each of them with more seeds"
        )

"""Say how a study that exists already may go on: as it is, or with more of the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.errors import LedgerError, UsageError

if TYPE_CHECKING:
    from study.layout import StudyLayout
    from study.ledger import Ledger
    from study.spec import StudySpec

_SECTIONS = ("search", "budget", "replicates", "keep", "resources")


def extension_of(layout: StudyLayout, spec: StudySpec) -> StudySpec:
    """Return what a stored study becomes when its changed file only adds to it.

    Raises:
        LedgerError: the file says the same as before, or changes what has been run.
    """
    from study.changes import changes
    from study.ledger import Ledger, refuse_existing

    ledger = Ledger.open(layout)
    found = changes(_as_given(ledger), spec)
    if not found:
        refuse_existing(layout, spec.name)
    differing = [one for one in found if not one.extends]
    if differing:
        listed = "\n".join(f"  {one}" for one in found)
        raise LedgerError(
            f"a study's file must stay the same or only add to it, but `{spec.name}` exists and differs:\n{listed}\n"
            f"`study resume {shlex.quote(spec.name)}` goes on with it as it is, `study run FILE --name OTHER` starts "
            "another"
        )
    wanted = _with_sections(ledger.spec, spec)
    require_effect(ledger, wanted)
    return wanted


def _as_given(ledger: Ledger) -> StudySpec:
    """Return the study as its file gave it, dropped values included, with what extensions added since."""
    return _with_sections(ledger.given, ledger.spec)


def _with_sections(spec: StudySpec, other: StudySpec) -> StudySpec:
    return spec.model_copy(update={name: getattr(other, name) for name in _SECTIONS})


@dataclass(frozen=True)
class More:
    """What a study is to have more of; None adds nothing."""

    trials: int | None = None
    replicates: int | None = None
    wall_clock: str | None = None
    accelerator_hours: float | None = None
    failures: int | None = None
    no_target: bool = False


def grown(spec: StudySpec, more: More) -> StudySpec:
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


def _more_of_search(spec: StudySpec, more: More) -> int:
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


def _larger_budget(spec: StudySpec, more: More) -> dict[str, object]:
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
    from study.steering import seconds_of

    if spec.budget.wall_clock_s is None:
        raise UsageError("--wall-clock adds to budget.wall_clock, but the study has no such limit")
    try:
        return f"{spec.budget.wall_clock_s + seconds_of(more):.15g} s"
    except ValueError as error:
        raise UsageError(f"--wall-clock: {error}") from error


def _more_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    first = max(seeds) + 1
    return (*seeds, *range(first, first + count))


def require_effect(ledger: Ledger, wanted: StudySpec) -> None:
    """Make sure that an extended study has something to do.

    Raises:
        UsageError: what ended it is still in force, or its space has no further point.
    """
    from study.changes import changes
    from study.records import StopReason

    options = {
        StopReason.TARGET: ("budget.target.", "--no-target"),
        StopReason.TIME_BUDGET: ("budget.wall_clock", "--wall-clock TIME"),
        StopReason.ACCELERATOR_BUDGET: ("budget.accelerator_hours", "--accelerator-hours H"),
        StopReason.FAILURES: ("budget.failures", "--failures N"),
    }
    found = [one.field for one in changes(ledger.spec, wanted)]
    if ledger.end_reason in options:
        field, option = options[ledger.end_reason]
        if not any(one.startswith(field) for one in found):
            raise UsageError(
                f"`{ledger.name}` ended for this reason: {ledger.end_reason.value}, which still holds; add {option}"
            )
    if ledger.exhausted and set(found) <= {"search.trials", "budget.trials"}:
        raise UsageError(
            f"`{ledger.name}` has run every point of its space, {sum(ledger.counts().values())} trials; "
            "--replicates N runs each of them with more seeds"
        )

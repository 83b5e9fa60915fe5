"""Ask trials and configurations for values by name, for --where, --columns and --sort."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from study.analysis.ranking import Configuration, has_checkpoint
from study.analysis.trial_filter import OF_ONE_TRIAL, KnownNames, TrialFilter, Value, known_names, value_of
from study.errors import UsageError
from study.metrics import metric_named
from study.records import TrialRecord

Seeds: TypeAlias = Mapping[str, tuple[int, ...]]
"""The seeds of each study's replicates, as its study file numbers them."""
FieldGetter: TypeAlias = Callable[[str], Value]
Row = TypeVar("Row")
_DIRECTIONS = {"asc": False, "desc": True}
OF_CONFIGURATIONS = ("rank", "replicates", "complete")
"""What configurations have that trials have not, but for the rank."""
_LISTED = 60


@dataclass(frozen=True)
class SortKey:
    """Something to sort by."""

    name: str
    descending: bool


def trial_fields(record: TrialRecord, seeds: Seeds, rank: int | None = None) -> FieldGetter:
    """Return what answers for a trial."""
    numbers = seeds.get(record.study, ())
    seed = numbers[record.replicate] if record.replicate < len(numbers) else None
    return lambda name: rank if name == "rank" else value_of(record, name, seed)


def configuration_fields(one: Configuration) -> FieldGetter:
    """Return what answers for a configuration: means of metrics, and what its trials have in common.

    Asking it for something that its trials do not share raises UsageError.
    """
    first = one.trials[0]

    def answer(name: str) -> Value:
        bare = name.removeprefix("params.")
        if bare in OF_ONE_TRIAL:
            raise UsageError(f"`{name}` is of single trials, and each configuration has several; add --trials")
        if name in OF_CONFIGURATIONS:
            return {"rank": one.rank, "replicates": one.planned, "complete": one.complete}[name]
        if name == "state":
            return str(one.state.value)
        found = None if name.startswith("metrics.") else value_of(first, name)
        if found is not None and _is_of_point(first, bare):
            return found
        return one.mean_of(name.removeprefix("metrics."))

    return answer


def require_filter(where: TrialFilter, records: Sequence[TrialRecord], seeds: Seeds, *, trials: bool) -> None:
    """Make sure that an expression means something for these trials, or for their configurations.

    Raises:
        UsageError: it does not.
    """
    where.check(known_names(records), lambda name: _values(records, seeds, name))
    if not trials and (
        single := next((one for one in where.names if one.removeprefix("params.") in OF_ONE_TRIAL), None)
    ):
        raise UsageError(f"--where: `{single}` is of single trials, and each configuration has several; add --trials")


def require_names(
    option: str, names: Iterable[str], records: Sequence[TrialRecord], *, extra: Sequence[str] = ()
) -> list[str]:
    """Return names after a check that some trial has each.

    Raises:
        UsageError: none has one of them.
    """
    asked = list(dict.fromkeys(names))
    if not asked:
        return []
    known = known_names(records)
    for name in asked:
        if name not in extra and not _has(known, name):
            from study.utils.suggestions import did_you_mean

            meant = did_you_mean(name, [*known.metrics, *known.params, *known.fields, *extra], otherwise=".")
            raise UsageError(f"{option}: no trial reports `{name}`{meant} There are: {_listed(known)}")
    return asked


def require_metric(metric: str, records: Iterable[TrialRecord]) -> None:
    """Make sure that some checkpoint can be ranked by a metric, where there is any checkpoint.

    Raises:
        UsageError: none has it.
    """
    ended = [one for one in records if has_checkpoint(one)]
    if not ended or any(metric in one.metrics for one in ended):
        return
    from study.utils.suggestions import did_you_mean

    names = sorted(known_names(ended).metrics)
    usable = [name for name in names if (known := metric_named(name)) is not None and known.mode is not None]
    meant = did_you_mean(metric, usable, otherwise=".")
    raise UsageError(f"--metric: no trial reports `{metric}`{meant} There are: {_few(usable) or 'none'}")


def sort_keys(asked: Sequence[str] | None) -> list[SortKey]:
    """Read what ``--sort`` was given.

    Raises:
        UsageError: a direction is neither asc nor desc.
    """
    found = []
    for text in asked or ():
        name, colon, direction = text.strip().rpartition(":")
        if not colon:
            name, direction = direction, "asc"
        if direction not in _DIRECTIONS or not name:
            raise UsageError(f"--sort must be KEY, KEY:asc or KEY:desc, got `{text}`")
        found.append(SortKey(name, _DIRECTIONS[direction]))
    return found


def sort_in_place(rows: list[tuple[FieldGetter, Row]], keys: Sequence[SortKey]) -> None:
    """Sort rows by their answers, the first key first; a missing value comes last either way."""
    for key in reversed(keys):
        there = [(answer, row) for row in rows if (answer := row[0](key.name)) is not None]
        missing = [row for row in rows if row[0](key.name) is None]
        there.sort(key=lambda pair: _order(pair[0]), reverse=key.descending)
        rows[:] = [*(row for _, row in there), *missing]


def _order(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value or 0), "")


def _values(records: Sequence[TrialRecord], seeds: Seeds, name: str) -> Iterable[Value]:
    return (trial_fields(one, seeds)(name) for one in records)


def _is_of_point(record: TrialRecord, name: str) -> bool:
    return name in record.params or name in record.config or name in ("study", "point")


def _has(known: KnownNames, name: str) -> bool:
    if name.startswith("params."):
        return name.removeprefix("params.") in known.params
    bare = name.removeprefix("metrics.")
    return bare in known.metrics or (bare == name and (name in known.params or name in known.fields))


def _listed(known: KnownNames) -> str:
    plain = sorted(one for one in known.metrics if "." not in one)
    families = sorted({one.rpartition(".")[0] + ".*" for one in known.metrics if "." in one})
    return _few([*plain, *families, *sorted(known.params), *known.fields])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")

"""Fields of trials and configurations by name, and the checks of names, for --where, --columns, --sort and --metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from study.analysis.ranking import Configuration, has_checkpoint
from study.analysis.trial_filter import OF_ONE_TRIAL, KnownNames, TrialFilter, Value, known_names, value_of
from study.config.search_config import Mode, Objective
from study.errors import UsageError
from study.metric_catalog import METRICS, TEST_PREFIX, VAL_PREFIX, metric_named
from study.records import TrialRecord
from study.utils.suggestions import did_you_mean
from study.utils.text import first_of

Seeds: TypeAlias = Mapping[str, tuple[int, ...]]
"""The seeds of each study's replicates, as its study file numbers them."""
FieldGetter: TypeAlias = Callable[[str], Value]
"""Returns the value of a field of one row by its name."""
Row = TypeVar("Row")
_DIRECTIONS = {"asc": False, "desc": True}
OF_CONFIGURATIONS = ("rank", "replicates", "complete")
"""Fields of configurations; trials have only the first."""
_LISTED = 60


@dataclass(frozen=True)
class SortKey:
    """A field to sort by."""

    name: str
    descending: bool


def trial_fields(record: TrialRecord, seeds: Seeds, rank: int | None = None) -> FieldGetter:
    """Return the field getter of a trial."""
    numbers = seeds.get(record.study, ())
    seed = numbers[record.replicate] if record.replicate < len(numbers) else None
    return lambda name: rank if name == "rank" else value_of(record, name, seed)


def configuration_fields(configuration: Configuration) -> FieldGetter:
    """Return the field getter of a configuration: means of metrics, and what its trials have in common.

    It raises UsageError for a field of single trials.
    """
    first = configuration.trials[0]
    own = {
        "rank": configuration.rank, "replicates": configuration.planned, "complete": configuration.complete,
        "state": str(configuration.state.value),
    }  # fmt: skip

    def field(name: str) -> Value:
        bare = name.removeprefix("params.")
        if bare in OF_ONE_TRIAL:
            raise UsageError(f"`{name}` is of single trials, and each configuration has several; add --trials")
        if name in own:
            return own[name]
        shared = None if name.startswith("metrics.") else value_of(first, name)
        if shared is not None and (bare in first.params or bare in first.config or bare in ("study", "point")):
            return shared
        return configuration.mean_of(name.removeprefix("metrics."))

    return field


def require_filter(where: TrialFilter, records: Sequence[TrialRecord], seeds: Seeds, *, trials: bool) -> None:
    """Check that an expression means something for these trials, or for their configurations.

    Raises:
        UsageError: it does not.
    """
    where.check(known_names(records), lambda name: (trial_fields(record, seeds)(name) for record in records))
    if not trials and (
        single := next((name for name in where.names if name.removeprefix("params.") in OF_ONE_TRIAL), None)
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
            meant = did_you_mean(name, [*known.metrics, *known.params, *known.fields, *extra], otherwise=".")
            raise UsageError(f"{option}: no trial reports `{name}`{meant} There are: {_listed(known)}")
    return asked


def require_metric(metric: str, records: Iterable[TrialRecord]) -> None:
    """Check that some checkpoint can be ranked by a metric, where there is any checkpoint.

    Raises:
        UsageError: none has it.
    """
    ended = [record for record in records if has_checkpoint(record)]
    if not ended or any(metric in record.metrics for record in ended):
        return
    names = sorted(known_names(ended).metrics)
    usable = [name for name in names if (known := metric_named(name)) is not None and known.mode is not None]
    meant = did_you_mean(metric, usable, otherwise=".")
    raise UsageError(f"--metric: no trial reports `{metric}`{meant} There are: {first_of(usable, _LISTED) or 'none'}")


def mode_of(metric: str, objectives: Sequence[Objective]) -> Mode:
    """Return which direction of a metric is better; an objective's own comes first.

    Raises:
        UsageError: no trial reports it, neither direction is better, or it is one of the test images.
    """
    for objective in objectives:
        if metric == objective.metric:
            return objective.mode
    known = metric_named(metric)
    if metric.startswith(TEST_PREFIX) and known is not None:
        raise UsageError(
            f"--metric must not be one of the test images, got `{metric}`: they are looked at once, at the end; "
            f"choose by validation, such as {VAL_PREFIX}{metric.removeprefix(TEST_PREFIX)}"
        )
    if known is None or known.mode is None:
        usable = [name for name, description in METRICS.items() if description.mode is not None]
        raise UsageError(
            f"--metric must be one a checkpoint can be ranked by, got `{metric}`{did_you_mean(metric, usable)}"
        )
    return known.mode


def sort_keys(asked: Sequence[str] | None) -> list[SortKey]:
    """Parse the values of ``--sort``.

    Raises:
        UsageError: a direction is neither asc nor desc.
    """
    keys = []
    for text in asked or ():
        name, colon, direction = text.strip().rpartition(":")
        if not colon:
            name, direction = direction, "asc"
        if direction not in _DIRECTIONS or not name:
            raise UsageError(f"--sort must be KEY, KEY:asc or KEY:desc, got `{text}`")
        keys.append(SortKey(name, _DIRECTIONS[direction]))
    return keys


def sort_in_place(rows: list[tuple[FieldGetter, Row]], keys: Sequence[SortKey]) -> None:
    """Sort rows by the fields of their getters, the first key first; a missing value comes last either way."""
    for key in reversed(keys):
        values = [(row[0](key.name), row) for row in rows]
        present = [(value, row) for value, row in values if value is not None]
        present.sort(key=lambda pair: _order(pair[0]), reverse=key.descending)
        rows[:] = [*(row for _, row in present), *(row for value, row in values if value is None)]


def _order(value: Value) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value or 0), "")


def _has(known: KnownNames, name: str) -> bool:
    if name.startswith("params."):
        return name.removeprefix("params.") in known.params
    bare = name.removeprefix("metrics.")
    return bare in known.metrics or (bare == name and (name in known.params or name in known.fields))


def _listed(known: KnownNames) -> str:
    plain = sorted(name for name in known.metrics if "." not in name)
    families = sorted({name.rpartition(".")[0] + ".*" for name in known.metrics if "." in name})
    return first_of([*plain, *families, *sorted(known.params), *known.fields], _LISTED)

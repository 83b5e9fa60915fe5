"""Write records column by column, so that a value most of them share is written once; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from study.records import StopReason, TrialRecord, TrialState

MAPPINGS = ("params", "config", "metrics")
DERIVED = ("study", "history", "kept", "run_id")
"""Fields that are known from elsewhere or not kept at all."""
FIELDS = tuple(one.name for one in fields(TrialRecord) if one.name not in DERIVED)

Column = dict[str, list[Any]]
"""``values`` one by one; or each different one once, with ``at`` the place of each among them."""


def pack(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return columns of JSON values."""
    return {
        name: (_pack_mappings if name in MAPPINGS else _pack_column)([getattr(one, name) for one in records])
        for name in FIELDS
    }


def unpack(
    columns: Mapping[str, Any], study: str, dropped: frozenset[int], runs: Mapping[int, str]
) -> list[TrialRecord]:
    """Return the records that ``pack`` was given, without their epochs.

    Args:
        columns: what it returned.
        study: the study's name.
        dropped: the trials whose weights are gone.
        runs: MLflow run ids by trial.
    """
    count = len(unpack_column(columns["trial"]))
    plain = [name for name in FIELDS if name not in MAPPINGS]
    rows = zip(*(unpack_column(columns[name]) for name in plain), strict=True)
    mappings = zip(*(_unpack_mappings(columns[name], count) for name in MAPPINGS), strict=True)
    found = []
    for row, parts in zip(rows, mappings, strict=True):
        values: dict[str, Any] = dict(zip(plain, row, strict=True))
        reason, number = values["stop_reason"], values["trial"]
        values["state"] = _STATES[values["state"]]
        values["stop_reason"] = None if reason is None else _REASONS[reason]
        params, config, metrics = parts
        record = TrialRecord(
            study=study, params=params, config=config, metrics=metrics,
            kept=number not in dropped, run_id=runs.get(number), **values,
        )  # fmt: skip
        found.append(record)
    return found


_STATES = {one.value: one for one in TrialState}
_REASONS = {one.value: one for one in StopReason}


def _pack_column(values: Sequence[Any]) -> Column:
    keys: Sequence[Any] = values
    if len(set(map(type, values))) > 1 or (values and isinstance(values[0], list)):  # 1, 1.0 and true are one key
        keys = [(type(one), tuple(one) if isinstance(one, list) else one) for one in values]
    places = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    if 2 * len(places) > len(keys):
        return {"values": list(values)}
    first = dict(zip(keys, values, strict=True))
    return {"values": [first[key] for key in places], "at": [places[key] for key in keys]}


def unpack_column(column: Column) -> list[Any]:
    """Return the values of a column one by one."""
    values = column["values"]
    return [values[at] for at in column["at"]] if "at" in column else values


def _pack_mappings(mappings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group by keys and their order; a group has the rows it is about and a column for each key."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, one in enumerate(mappings):
        groups.setdefault(tuple(one), []).append(row)
    return [
        {"rows": rows, "columns": {key: _pack_column([mappings[row][key] for row in rows]) for key in keys}}
        for keys, rows in groups.items()
    ]


def _unpack_mappings(groups: Sequence[Mapping[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for group in groups:
        keys = tuple(group["columns"])
        columns = [unpack_column(one) for one in group["columns"].values()]
        for row, values in zip(group["rows"], zip(*columns, strict=True), strict=False):
            found[row] = dict(zip(keys, values, strict=True))
    return iter(found)

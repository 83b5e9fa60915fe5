"""Look at a study as it stands, as quickly as its storage allows."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic_core import from_json

from study.config.study_config import StudySpec
from study.errors import StudyStorageError, damaged, missing
from study.paths import StudyLayout, write_atomic
from study.records import StopReason, TrialRecord, TrialState
from study.storage.study_attributes import DROPPED_PREFIX, EXHAUSTED, SPEC, StudyAttributes
from study.trials.queue import max_trials, planned_trials_now
from study.trials.serialization import FOLLOWED, STATES, StoredEpoch, is_settled, stored_epochs, to_record

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


def parse(text: bytes) -> Any:
    """Return the value of a JSON text, NaN and infinities included.

    Raises:
        ValueError: it is none.
    """
    try:
        return from_json(text)
    except ValueError:  # it refuses lone surrogates, which file names may have
        return json.loads(text)


TRIAL_ATTR = 8
"""Optuna's number for a line that notes something of a trial."""
_PASSED = (3, 5, 7, 9)  # what only Optuna's samplers and pruners need
_UNREAD = tuple(f'{{"op_code":{one},'.encode() for one in _PASSED)
_RUNNING = next(code for code, state in STATES.items() if state.value == "RUNNING")
FOLLOWED_END = f',"{FOLLOWED}":true}}\n'.encode()
"""How a line ends that is not the last of its batch."""


@dataclass
class ReplayedTrial:
    """A trial that has not ended; ``state`` is Optuna's number."""

    number: int
    state: int
    user_attrs: dict[str, Any]


@dataclass
class JournalReplay:
    """What the journal says up to the byte ``offset``, which ends a line and a batch.

    ``ended`` holds the records of the trials that ended, but for the ``earlier`` ones that somebody else holds;
    ``open`` the other trials. ``settled`` are the numbers of ended ones after which no further replicate of their
    point is begun.

    Raises:
        ValueError, LookupError, TypeError: the journal is not as this package writes it.
    """

    name: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    ended: dict[int, TrialRecord] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    open: dict[int, ReplayedTrial] = field(default_factory=dict)
    earlier: int = 0
    offset: int = 0
    keeps_epochs: bool = False

    def take(self, lines: Iterable[bytes]) -> None:
        """Go on with what follows; a torn line or batch at the end is left for later."""
        held: list[bytes] = []
        at = self.offset
        torn: ValueError | None = None
        for line in lines:
            if torn is not None:
                raise torn
            if not line.endswith(b"\n"):
                return
            at += len(line)
            if not line.startswith(_UNREAD):
                held.append(line)
            if line.endswith(FOLLOWED_END):
                continue
            try:
                logs = [parse(one) for one in held]
            except ValueError as fault:  # a kill may leave that at the very end
                torn = fault
                continue
            for log in logs:
                self._apply(log)
            held.clear()
            self.offset = at

    @property
    def begun(self) -> int:
        """How many trials there are."""
        return self.earlier + len(self.ended) + len(self.open)

    def spec(self) -> StudySpec:
        """Return what is run, as it is now."""
        return StudySpec.model_validate_json(self.attrs[SPEC])

    def record(self, trial: ReplayedTrial) -> TrialRecord:
        """Return the record of a trial as it stands."""
        found = to_record(self.name, trial, self._objective)
        return found if self.keeps_epochs else replace(found, history=())

    def _apply(self, log: dict[str, Any]) -> None:
        """Apply one operation, by the number that Optuna's journal gives its kind."""
        match log["op_code"]:
            case 8:  # TRIAL_ATTR
                trial = self.open.get(log["trial_id"])
                if trial is not None:
                    trial.user_attrs.update(log["user_attr"])
            case 6:
                self._change_state(log["trial_id"], log["state"])
            case 4:
                number = self.begun
                self.open[number] = ReplayedTrial(number, log.get("state", _RUNNING), log.get("user_attrs", {}))
                self._close(number)
            case 2:
                self.attrs.update(log["user_attr"])
            case 0 if self.name in ("", log["study_name"]):
                self.name = log["study_name"]
            case 3 | 5 | 7 | 9:
                pass
            case _:
                raise ValueError(f"an operation that no study does: {str(log)[:100]}")

    def _change_state(self, number: int, state: int) -> None:
        if number in self.open:
            self.open[number].state = state
            self._close(number)

    def _close(self, number: int) -> None:
        """Turn a trial into its record if it ended; a finished record never changes."""
        trial = self.open[number]
        if STATES[trial.state].is_finished:
            self.ended[number] = self.record(trial)
            if is_settled(trial):
                self.settled.add(number)
            del self.open[number]

    @cached_property
    def _objective(self) -> Any:
        return self.spec().objective


VERSION = 2
_BLOCK_BYTES = 1 << 20


@dataclass
class Index:
    """An index as it was read: ``replay`` has no records of trials that ended, ``columns`` have them."""

    replay: JournalReplay
    columns: dict[str, Any]


class Contents:
    """What a journal has, compared by a hash of it; ``stamp`` tells without one that nobody has written to it since."""

    def __init__(self, journal: BinaryIO) -> None:
        """Look at the file before anything is read of it, so that no later change goes unseen."""
        status = os.fstat(journal.fileno())
        self.stamp = [status.st_ino, status.st_mtime_ns, status.st_size]
        self._journal = journal
        self._hash = hashlib.sha256()
        self._at = 0

    def hash_to(self, offset: int) -> str:
        """Return a hash of the bytes before an offset; going on from an earlier one costs only what lies between.

        Raises:
            ValueError: the journal is shorter.
        """
        if offset < self._at:
            self._hash, self._at = hashlib.sha256(), 0
        self._journal.seek(self._at)
        while self._at < offset:
            block = self._journal.read(min(_BLOCK_BYTES, offset - self._at))
            if not block:
                raise ValueError("the journal is shorter than its index says")
            self._hash.update(block)
            self._at += len(block)
        return self._hash.hexdigest()


def load(path: Path, journal: Contents) -> Index | None:
    """Return the index, None where it is damaged, of another version or of another journal.

    It fits a journal that is, up to the index's offset, the one it was made from.
    """
    try:
        head, body = path.read_bytes().split(b"\n", 1)
        told = json.loads(head)
        if told["version"] != _version() or told["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        if told["stamp"] != journal.stamp and told["journal"] != journal.hash_to(told["offset"]):
            return None
        found = parse(body)
        trials = {int(number): ReplayedTrial(int(number), *one) for number, one in found["open"].items()}
        replay = JournalReplay(
            found["name"], found["attrs"], settled=set(found["settled"]), open=trials,
            earlier=len(unpack_column(found["ended"]["trial"])), offset=told["offset"],
        )  # fmt: skip
        return Index(replay, found["ended"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def save(path: Path, journal: Contents, replay: JournalReplay, ended: Sequence[TrialRecord]) -> None:
    """Write the index, whole or not at all.

    Args:
        path: where.
        journal: what it is an index of.
        replay: what the journal adds up to.
        ended: the records of all trials that ended.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the journal was cut meanwhile.
    """
    body = json.dumps(
        {
            "name": replay.name,
            "attrs": replay.attrs,
            "settled": sorted(replay.settled),
            "open": {one.number: [one.state, one.user_attrs] for one in replay.open.values()},
            "ended": pack(ended),
        },
        separators=(",", ":"),
    ).encode()
    head = {
        "version": _version(),
        "sha256": hashlib.sha256(body).hexdigest(),
        "offset": replay.offset,
        "stamp": journal.stamp,
        "journal": journal.hash_to(replay.offset),
    }
    write_atomic(path, lambda file: file.write(json.dumps(head).encode() + b"\n" + body), sync=False)


def _version() -> list[Any]:
    return [VERSION, list(FIELDS)]


WORTH_BYTES = 1_000_000
"""What must have been read of a journal for an index to be written."""
YEAR_5138_S: Final = 1e11
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)


class StudyView(StudyAttributes):
    """A study as it stood when it was read: the same answers as the storage's, but nothing can be done with it."""

    def __init__(self, replay: JournalReplay, columns: Mapping[str, Any] | None, run_ids: Mapping[int, str]) -> None:
        self.spec = replay.spec()
        self._replay = replay
        self._columns = columns
        self._run_ids = run_ids

    @property
    def name(self) -> str:
        """The study's name."""
        return self._replay.name

    @cached_property
    def counts(self) -> Mapping[TrialState, int]:
        """How many trials there are in each state."""
        found = Counter(one.state for one in self.records)
        return {state: found[state] for state in TrialState}

    @cached_property
    def planned(self) -> int:
        """How many trials there will be at most, as far as is known now."""
        replicates = len(self.spec.replicates.numbers)
        begun = Counter(one.point for one in self.records)
        numbers = [*self._replay.settled, *(one.number for one in self._replay.open.values() if is_settled(one))]
        settled = {self.records[number].point for number in numbers}
        left = {point: replicates - count for point, count in begun.items()}
        return planned_trials_now(
            self.spec,
            max_trials(self.spec),
            len(self.records),
            freed=sum(left[point] for point in settled),
            to_begin=sum(count for point, count in left.items() if point not in settled),
            no_more=bool(self._attrs.get(EXHAUSTED)),
        )

    @property
    def is_finished(self) -> bool:
        """Whether everybody heard of an end after which nothing is left to do."""
        return self._has_ended(self.counts, self.planned)

    @property
    def _attrs(self) -> Mapping[str, Any]:
        return self._replay.attrs

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Every trial in the order asked, with its MLflow run where that is known; with epochs if asked for."""
        replay, runs = self._replay, self._run_ids
        lines = (one for key, one in replay.attrs.items() if key.startswith(DROPPED_PREFIX))
        dropped = frozenset(number for line in lines for number in line)
        found = {} if self._columns is None else {
            one.trial: one for one in unpack(self._columns, replay.name, dropped, runs)
        }  # fmt: skip
        recent = [*replay.ended.values(), *map(replay.record, replay.open.values())]
        found |= {one.trial: replace(one, kept=one.trial not in dropped, run_id=runs.get(one.trial)) for one in recent}
        return [found[number] for number in sorted(found)]


def read_study(layout: StudyLayout, run_ids: Mapping[int, str] = {}, *, epochs: bool = False) -> StudyView:
    """Look at a study; one that runs may be looked at at any time.

    Args:
        layout: the study's paths.
        run_ids: MLflow runs by trial.
        epochs: whether the records are to have their epochs, for which all of the journal must be read.

    Raises:
        StudyStorageError: there is no such study, or its storage is damaged.
    """
    try:
        with layout.journal.open("rb") as journal:
            contents = Contents(journal)
            index = None if epochs else load(layout.index, contents)
            replay = index.replay if index else JournalReplay(keeps_epochs=epochs)
            begin = replay.offset
            journal.seek(begin)
            replay.take(journal)
            view = StudyView(replay, index.columns if index else None, run_ids)
            if not 0 <= view.created_at_s < YEAR_5138_S:
                raise ValueError(f"`created_at_s` must be seconds since 1970, but is {view.created_at_s}")
            if replay.offset - begin >= WORTH_BYTES and not epochs:
                with suppress(OSError):  # a folder that is only to be read has no index
                    save(layout.index, contents, replay, [one for one in view.records if one.state.is_finished])
            return view
    except FileNotFoundError:
        raise missing(layout) from None
    except _DAMAGE as error:
        raise damaged(layout, error) from error


def read_epochs(layout: StudyLayout, number: int) -> list[StoredEpoch]:
    """Return what was reported of one trial, the oldest epoch first, without reading what is of others.

    Raises:
        StudyStorageError: the storage cannot be read.
    """
    attrs: dict[str, Any] = {}
    try:
        journal = _whole_batches(layout.journal.read_bytes())
        for line in _lines_with(journal, f'"trial_id":{number},'.encode()):
            log = parse(line)
            if log["op_code"] == TRIAL_ATTR and log["trial_id"] == number:
                attrs.update(log["user_attr"])
        return stored_epochs(attrs)
    except _DAMAGE as error:
        raise damaged(layout, error) from error


def refresh(layout: StudyLayout) -> None:
    """Bring the index up to date if that is worth it; a fault is left for whoever reads."""
    with suppress(StudyStorageError):
        read_study(layout)


def _whole_batches(journal: bytes) -> bytes:
    """Return a journal without a torn line or batch at its end."""
    end = journal.rfind(b"\n") + 1
    begin = journal.rfind(b"\n", 0, max(end - 1, 0)) + 1
    try:
        parse(journal[begin:end])
    except ValueError:  # a kill may leave that at the very end
        end = begin
    while journal.endswith(FOLLOWED_END, 0, end):
        end = journal.rfind(b"\n", 0, end - 1) + 1
    return journal[:end]


def _lines_with(content: bytes, part: bytes) -> Iterator[bytes]:
    """Yield the whole lines that have a part."""
    at = content.find(part)
    while at >= 0:
        begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
        if end < 0:
            return
        yield content[begin:end]
        at = content.find(part, end)

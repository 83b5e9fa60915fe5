"""Look at a study as it stands, as quickly as its ledger allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from study.errors import LedgerError
from study.index.columns import unpack
from study.index.file import Contents, load, save
from study.index.parsing import parse
from study.index.replay import FOLLOWED_END, TRIAL_ATTR, Replay
from study.layout import StudyLayout
from study.ledger.attributes import DROPPED_PREFIX, EXHAUSTED, StudyAttributes
from study.ledger.entries import Epoch, is_settled, stored_epochs
from study.ledger.faults import damaged, missing
from study.ledger.roster import most_trials, planned_now
from study.records import TrialRecord, TrialState

WORTH_BYTES = 1_000_000
"""What must have been read of a journal for an index to be written."""
YEAR_5138_S: Final = 1e11
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)


class StudyView(StudyAttributes):
    """A study as it stood when it was read: the same answers as the ledger's, but nothing can be done with it."""

    def __init__(self, replay: Replay, columns: Mapping[str, Any] | None, run_ids: Mapping[int, str]) -> None:
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
        return planned_now(
            self.spec,
            most_trials(self.spec),
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
        LedgerError: there is no such study, or its ledger is damaged.
    """
    try:
        with layout.ledger.open("rb") as journal:
            contents = Contents(journal)
            index = None if epochs else load(layout.index, contents)
            replay = index.replay if index else Replay(keeps_epochs=epochs)
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


def read_epochs(layout: StudyLayout, number: int) -> list[Epoch]:
    """Return what was reported of one trial, the oldest epoch first, without reading what is of others.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    attrs: dict[str, Any] = {}
    try:
        journal = _whole_batches(layout.ledger.read_bytes())
        for line in _lines_with(journal, f'"trial_id":{number},'.encode()):
            log = parse(line)
            if log["op_code"] == TRIAL_ATTR and log["trial_id"] == number:
                attrs.update(log["user_attr"])
        return stored_epochs(attrs)
    except _DAMAGE as error:
        raise damaged(layout, error) from error


def refresh(layout: StudyLayout) -> None:
    """Bring the index up to date if that is worth it; a fault is left for whoever reads."""
    with suppress(LedgerError):
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

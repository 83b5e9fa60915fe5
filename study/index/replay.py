"""Add up the lines of a ledger's journal to records, without Optuna and keeping no epoch that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from study.index.parsing import parse
from study.ledger.attributes import SPEC
from study.ledger.entries import FOLLOWED, STATES, is_settled, to_record
from study.records import TrialRecord
from study.spec import StudySpec

TRIAL_ATTR = 8
"""Optuna's number for a line that notes something of a trial."""
_PASSED = (3, 5, 7, 9)  # what only Optuna's samplers and pruners need
_UNREAD = tuple(f'{{"op_code":{one},'.encode() for one in _PASSED)
_RUNNING = next(code for code, state in STATES.items() if state.value == "RUNNING")
FOLLOWED_END = f',"{FOLLOWED}":true}}\n'.encode()
"""How a line ends that is not the last of its batch."""


@dataclass
class LightTrial:
    """A trial that has not ended; ``state`` is Optuna's number."""

    number: int
    state: int
    user_attrs: dict[str, Any]


@dataclass
class Replay:
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
    open: dict[int, LightTrial] = field(default_factory=dict)
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

    def record(self, trial: LightTrial) -> TrialRecord:
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
                self.open[number] = LightTrial(number, log.get("state", _RUNNING), log.get("user_attrs", {}))
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

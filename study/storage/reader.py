"""Read a study as it stands from its journal alone, without Optuna, which takes half a second to import."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from study.config.study_config import StudySpec
from study.designs import TrialPlan
from study.errors import damaged, missing
from study.files import read_inside
from study.paths import StudyLayout
from study.records import TrialState
from study.storage.journal_format import Operation, parse_line, split_lines
from study.storage.study_attributes import DROPPED_PREFIX, EXHAUSTED, SPEC, StudyAttributes
from study.trials.serialization import STATES, YEAR_5138_S, StoredEpoch, is_settled, stored_epochs, to_record

_UNREAD = tuple(
    f'{{"op_code":{operation},'.encode()
    for operation in (
        Operation.SET_STUDY_SYSTEM_ATTR,
        Operation.SET_TRIAL_PARAM,
        Operation.SET_TRIAL_INTERMEDIATE_VALUE,
        Operation.SET_TRIAL_SYSTEM_ATTR,
    )
)
"""How the lines begin that only Optuna's samplers and pruners need; they are not even parsed."""
_RUNNING = next(code for code, state in STATES.items() if state is TrialState.RUNNING)
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class ReplayedTrial:
    """A trial as far as the journal was read; ``state`` is Optuna's number."""

    number: int
    state: int
    user_attrs: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether it can no longer change."""
        return STATES[self.state].is_finished


@dataclass
class JournalReplay:
    """The state of a study after its journal's operations."""

    name: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    trials: list[ReplayedTrial] = field(default_factory=list)

    def apply(self, lines: Iterable[bytes]) -> None:
        """Apply the operations of these lines.

        Raises:
            ValueError, LookupError, TypeError: the journal is not as this package writes it.
        """
        for line in lines:
            if not line.startswith(_UNREAD):
                self._apply(parse_line(line))

    def _apply(self, log: dict[str, Any]) -> None:
        match log["op_code"]:
            case Operation.SET_TRIAL_USER_ATTR:
                trial = self.trials[log["trial_id"]]
                if not trial.is_finished:
                    trial.user_attrs.update(log["user_attr"])
            case Operation.SET_TRIAL_STATE_VALUES:
                trial = self.trials[log["trial_id"]]
                if not trial.is_finished:
                    trial.state = log["state"]
            case Operation.CREATE_TRIAL:
                state, attrs = log.get("state", _RUNNING), log.get("user_attrs", {})
                self.trials.append(ReplayedTrial(len(self.trials), state, attrs))
            case Operation.SET_STUDY_USER_ATTR:
                self.attrs.update(log["user_attr"])
            case Operation.CREATE_STUDY if self.name in ("", log["study_name"]):
                self.name = log["study_name"]
            case (
                Operation.SET_STUDY_SYSTEM_ATTR
                | Operation.SET_TRIAL_PARAM
                | Operation.SET_TRIAL_INTERMEDIATE_VALUE
                | Operation.SET_TRIAL_SYSTEM_ATTR
            ):
                return
            case _:
                raise ValueError(f"an operation that no study does: {str(log)[:100]}")


class StudyView(StudyAttributes):
    """A study as it stood when it was read: the same answers as the storage's, but it cannot be changed."""

    def __init__(self, layout: StudyLayout, replay: JournalReplay, run_ids: Mapping[int, str], *, epochs: bool) -> None:
        spec = StudySpec.model_validate_json(replay.attrs[SPEC])
        self.spec = spec.model_copy(update={"name": layout.name_of(replay.name)})
        self._replay = replay
        dropped = {number for key, line in self._attrs.items() if key.startswith(DROPPED_PREFIX) for number in line}
        self.records = [
            to_record(
                layout, self.name, trial, self.spec.objective,
                kept=trial.number not in dropped, run_id=run_ids.get(trial.number), epochs=epochs,
            )
            for trial in replay.trials
        ]  # fmt: skip
        """Every trial in the order asked, with its MLflow run where that is known; with epochs if asked for."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @cached_property
    def counts(self) -> Mapping[TrialState, int]:
        """How many trials there are in each state."""
        counts = Counter(STATES[trial.state] for trial in self._replay.trials)
        return {state: counts[state] for state in TrialState}

    @cached_property
    def planned(self) -> int:
        """How many trials there will be at most, as far as is known now."""
        replicates = len(self.spec.replicates.numbers)
        begun = Counter(record.point for record in self.records)
        settled = {self.records[trial.number].point for trial in self._replay.trials if is_settled(trial)}
        left = {point: replicates - count for point, count in begun.items()}
        reachable = None
        if self._attrs.get(EXHAUSTED):
            reachable = len(self.records) + sum(count for point, count in left.items() if point not in settled)
        return TrialPlan.of(self.spec).planned(dropped=sum(left[point] for point in settled), reachable=reachable)

    @property
    def is_finished(self) -> bool:
        """Whether the study's end was noted and nothing is left to do."""
        return self._has_ended(self.counts, self.planned)

    @property
    def _attrs(self) -> Mapping[str, Any]:
        return self._replay.attrs


def read_study(layout: StudyLayout, run_ids: Mapping[int, str] = {}, *, epochs: bool = False) -> StudyView:
    """Read a study; one that runs can be read at any time.

    Args:
        layout: the study's paths.
        run_ids: MLflow runs by trial.
        epochs: whether the records are to have their epochs.

    Raises:
        StudyStorageError: there is no such study, or its journal is damaged.
    """
    replay = JournalReplay()
    try:
        with _no_garbage_collection():
            replay.apply(split_lines(read_inside(layout.journal, layout.results)))
            view = StudyView(layout, replay, run_ids, epochs=epochs)
            view.read_all()
            if not 0 <= view.created_at_s < YEAR_5138_S:
                raise ValueError(f"`created_at_s` must be seconds since 1970, but is {view.created_at_s}")
            return view
    except FileNotFoundError:
        raise missing(layout) from None
    except _DAMAGE as error:
        raise damaged(layout, error) from error


def read_epochs(layout: StudyLayout, number: int) -> list[StoredEpoch]:
    """Return what was reported of one trial, the oldest epoch first, without parsing what is of others.

    Raises:
        StudyStorageError: the journal cannot be read.
    """
    attrs: dict[str, Any] = {}
    part = f'"trial_id":{number},'.encode()
    try:
        for line in split_lines(read_inside(layout.journal, layout.results)):
            if part in line:
                log = parse_line(line)
                if log["op_code"] == Operation.SET_TRIAL_USER_ATTR and log["trial_id"] == number:
                    attrs.update(log["user_attr"])
        return stored_epochs(attrs)
    except _DAMAGE as error:
        raise damaged(layout, error) from error


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from going through a hundred thousand new dictionaries again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

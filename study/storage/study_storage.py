"""Changes of a stored study: create, open, ask, report, tell, resume; on Optuna's journal storage."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from optuna.exceptions import OptunaError
from optuna.trial import TrialState as OptunaState

from study.config.hyperparameters import TrialConfig
from study.config.search_space import Parameter
from study.config.study_config import StudySpec
from study.designs.formatting import format_parameter
from study.errors import StudyStorageError, damaged, missing
from study.files import open_inside
from study.paths import StudyLayout
from study.records import DataSummary, EpochMetrics, FinalLook, StopReason, TrialRecord, TrialState
from study.search.optuna_adapter import study_directions
from study.search.prior_trials import PriorTrial
from study.storage.journal import BatchedJournalStorage, write_new_journal
from study.storage.stored_study import StoredStudy
from study.storage.study_attributes import (
    DROPPED_LINE,
    DROPPED_PREFIX,
    END_REASON,
    ENDED_AT,
    EXTENSIONS,
    LOOKS,
    SESSIONS,
    SPEC,
    refuse_existing,
)
from study.trials.serialization import (
    ALONE,
    ASKED,
    ATTEMPTS,
    DECIDED,
    ENDED,
    EPOCH_PREFIX,
    EVALUATION,
    PRUNED,
    SETTLED,
    STATES,
    STOP_REASON,
    Assignment,
    StopDecision,
    StoredEpoch,
    stop_of,
)

TOLD: Mapping[TrialState, OptunaState] = {STATES[state]: state for state in OptunaState if state.is_finished()}
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OptunaError)


class StudyStorage(StoredStudy):
    """The one durable state of a study.

    Only the driver that holds the study's lock writes; anybody may read what there was when they opened it.
    Every method that returns has its effect on disk, and every one about a single trial costs O(log n) comparisons
    in n trials.
    """

    @classmethod
    def create(
        cls,
        layout: StudyLayout,
        spec: StudySpec,
        study_file: str,
        *,
        data: DataSummary,
        notices: Sequence[str] = (),
        given: StudySpec | None = None,
        warm_start: Sequence[PriorTrial] = (),
        environment: Mapping[str, str] = {},
    ) -> StudyStorage:
        """Create a new study.

        Args:
            layout: the study's paths.
            spec: what is run, without the values that cannot be run.
            study_file: the study file as it was given.
            data: what the study runs on; a resumed study must find the same.
            notices: remarks for the record, such as a value dropped from the space.
            given: the study as its file gives it, if that is not ``spec``.
            warm_start: points of earlier studies for the sampler, copied.
            environment: versions and device, for the record.

        Raises:
            StudyStorageError: there is one already, or the folder cannot be written.
        """
        refuse_existing(layout, spec.name)
        attributes = {
            "study_id": uuid.uuid4().hex,
            "spec": spec.model_dump_json(),
            "given": (given or spec).model_dump_json(),
            "study_file": study_file,
            "data": asdict(data),
            "notices": list(notices),
            "environment": dict(environment),
            "warm_start": [prior.as_json() for prior in warm_start],
            "created_at_s": time.time(),
        }
        try:
            write_new_journal(layout.journal, spec.name, study_directions(spec), attributes)
        except OSError as error:
            raise StudyStorageError(f"{layout.root} must be writable, but: {error.strerror or error}") from error
        return cls.open(layout)

    @classmethod
    def open(cls, layout: StudyLayout) -> StudyStorage:
        """Open an existing study; the trials that a killed driver left running are asked for first.

        Raises:
            StudyStorageError: there is none, or its file is damaged.
        """
        if not layout.journal.exists():
            raise missing(layout)
        try:
            open_inside(layout.journal, layout.results).close()
            storage = cls(layout, BatchedJournalStorage(layout.journal))
        except _DAMAGE as error:
            raise damaged(layout, error) from error
        storage.requeue_interrupted()
        return storage

    def requeue_interrupted(self) -> None:
        """Requeue the trials that a killed driver left running: ``ask`` returns them first, in their order.

        A trial keeps its values and epochs and goes on from its last checkpoint. Nothing is written until it is asked
        for, and what the pruner or a budget decided of it stays decided.
        """
        self._requeued = [trial.number for trial in self.trials() if not trial.state.is_finished()]

    def ask(self) -> Assignment | None:
        """Return the next trial: interrupted ones first, then new ones, None when all planned ones were asked."""
        if self._requeued:
            number = self._requeued[0]
            self._ask_again(number)
            self._requeued.pop(0)
            return self.assignment(number)
        number = sum(self.counts().values())
        if not self._creator.next(number):
            return None
        for listener in self._listeners():
            listener.on_ask(self._trial(number))
        return self.assignment(number)

    def assignment(self, number: int) -> Assignment:
        """Return a trial that was asked for before."""
        trial, record = self._trial(number), self.record(number)
        return Assignment(TrialConfig.model_validate(record.config), record, stop_of(trial), ALONE in trial.user_attrs)

    def restarted(self, number: int) -> TrialRecord:
        """Count another attempt: the trial was placed on another worker after its own died."""
        self._set(number, ATTEMPTS, self.record(number).attempts + 1)
        return self.record(number)

    def place_alone(self, number: int) -> None:
        """Give a trial that ran out of memory beside others a device of its own from now on."""
        self._set(number, ALONE, True)

    def report(self, number: int, metrics: EpochMetrics, checkpoint: str | None = None, busy_s: float = 0.0) -> bool:
        """Store one epoch with the checkpoint selected so far; return whether it was new.

        An epoch that was trained again with another result, because its checkpoint was lost, takes the old one's place.

        Args:
            number: the trial.
            metrics: of the epoch.
            checkpoint: folder of the best epoch so far.
            busy_s: time on a worker since the trial's last report; that of an epoch trained twice is added up.
        """
        trial, key = self._trial(number), f"{EPOCH_PREFIX}{metrics.epoch}"
        known = trial.user_attrs.get(key, {})
        if known.get("values") == dict(metrics.values) and metrics.epoch in trial.intermediate_values:
            return False
        place = None if checkpoint is None else self._layout.stored_checkpoint(checkpoint)
        epoch = StoredEpoch(metrics, time.time(), place, busy_s + known.get("busy_s", 0.0))
        with self._storage.batch():
            self._set(number, key, epoch.as_json())
            value = metrics.values[self.spec.objective.metric]
            self._storage.set_trial_intermediate_value(number, metrics.epoch, value)
        for listener in self._listeners():
            listener.on_report(self._trial(number), metrics.epoch)
        return True

    def should_prune(self, number: int) -> bool:
        """Ask the pruner about the last reported epoch, once: what it decided is stored and stays."""
        trial = self._trial(number)
        if stop_of(trial) is not None:
            return True
        if trial.last_step is None or trial.user_attrs.get(DECIDED) == trial.last_step:
            return False
        if self._pruner.stops(trial):
            self.stop(number, StopReason.PRUNED)
            return True
        if self._pruner.depends_on_others(trial.last_step):
            self._set(number, DECIDED, trial.last_step)
        return False

    def stop(self, number: int, reason: StopReason) -> StopDecision:
        """Decide that a running trial ends after its last reported epoch; an earlier decision stays."""
        trial = self._trial(number)
        known = stop_of(trial)
        if known is not None:
            return known
        with self._storage.batch():
            self._set(number, STOP_REASON, reason.value)
            self._set(number, PRUNED, trial.last_step or 0)
        self._notify_settled(number)
        return StopDecision(trial.last_step or 0, reason)

    def note_evaluation(self, number: int, values: Mapping[str, float]) -> None:
        """Store what the selected checkpoint scored on images it was not selected on."""
        if values:
            self._set(number, EVALUATION, dict(values))

    def tell(self, number: int, state: TrialState, reason: StopReason, *, error: str | None = None) -> TrialRecord:
        """End a trial for good; its values are those of its best epoch by the objective.

        A trial without a finite value for every objective has FAILED, whatever ``state`` is.
        """
        record = self.record(number)
        assert not record.state.is_finished, f"trial {number} has ended before"
        values = self._values(record) if state is TrialState.COMPLETE else None
        if state is TrialState.COMPLETE and values is None:
            state, reason = TrialState.FAILED, StopReason.ERROR
            reported = ", ".join(
                f"{objective.metric} = {record.metrics.get(objective.metric)}" for objective in self.spec.objective_list
            )
            error = f"a trial must end with a finite number for every objective, got {reported}"
        with self._storage.batch():
            self._set(number, ENDED, {"stop_reason": reason.value, "error": error, "finished_at_s": time.time()})
            if values is not None and self._pruner.settles(self._trial(number), values[0]):
                self._set(number, SETTLED, True)
            self._storage.set_trial_state_values(number, TOLD[state], values)
        if number in self._requeued:
            self._requeued.remove(number)
        self._notify_settled(number)
        for objective in self._listeners():
            objective.on_tell(self._trial(number))
        return self.record(number)

    def begin_session(self, at_s: float) -> None:
        """Note that a driver runs the study from now on, which revokes a user's stop."""
        self._sessions.begin(at_s)
        with self._storage.batch():
            self._note(SESSIONS, self._sessions.began_s)
            if not self.is_finished:
                self._forget_end()

    def extend(self, spec: StudySpec) -> None:
        """Continue by a larger spec; the caller made sure that it only adds to the one before."""
        before, after = (
            {**version.model_dump(mode="json"), "space": _formatted(version.space)} for version in (self.spec, spec)
        )
        changes = dict(_differences(before, after))
        with self._storage.batch():
            self._forget_end()
            self._note(EXTENSIONS, [*self.extensions, {"at_s": time.time(), "changes": changes}])
            self._note(SPEC, spec.model_dump_json())
        self.spec = spec
        self._start_listening()

    def record_test_evaluation(self, look: FinalLook) -> None:
        """Store an evaluation on the test images; the caller holds the study's lock."""
        self._note(LOOKS, [asdict(known) for known in (*self.looks, look)])

    def note_end(self, reason: StopReason | None = None) -> None:
        """Note that the study's end was recorded everywhere, and why it came before all planned trials ended, if so."""
        with self._storage.batch():
            self._note(END_REASON, None if reason is None else reason.value)
            self._note(ENDED_AT, time.time())

    def note_dropped(self, numbers: tuple[int, ...] | list[int]) -> None:
        """Note that the weights of these trials were deleted."""
        lines = {number // DROPPED_LINE for number in numbers}
        with self._storage.batch():
            for line in sorted(lines):
                here = {number for number in numbers if number // DROPPED_LINE == line}
                self._note(f"{DROPPED_PREFIX}{line}", sorted(here | set(self._dropped(line))))

    def _ask_again(self, number: int) -> None:
        trial = self._trial(number)
        if ASKED not in trial.user_attrs:
            self._creator.complete(trial)
            self._queue.set_params(self._trial(number))
        self._set(number, ATTEMPTS, int(trial.user_attrs.get(ATTEMPTS, 0)) + 1)

    def _values(self, record: TrialRecord) -> list[float] | None:
        """Return the values of every objective, None where one is missing or no finite number."""
        values = [record.metrics.get(objective.metric, math.nan) for objective in self.spec.objective_list]
        return values if all(map(math.isfinite, values)) else None

    def _forget_end(self) -> None:
        self._note(END_REASON, None)
        self._note(ENDED_AT, None)

    def _note(self, key: str, value: object) -> None:
        self._storage.set_study_user_attr(self._study_id, key, value)

    def _set(self, number: int, key: str, value: object) -> None:
        self._storage.set_trial_user_attr(number, key, value)


def _formatted(space: Sequence[Parameter]) -> dict[str, str]:
    return {parameter.name: format_parameter(parameter) for parameter in space}


def _differences(before: object, after: object, field: str = "") -> list[tuple[str, list[object]]]:
    """Return every field of two JSON values that differs, with both values; lists are one field."""
    if before == after:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [(field, [before, after])]
    names = dict.fromkeys((*before, *after))
    return [
        difference
        for name in names
        for difference in _differences(before.get(name), after.get(name), f"{field}.{name}" if field else str(name))
    ]

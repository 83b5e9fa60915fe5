"""Remember a study durably: ask, report, tell, resume; on Optuna's journal storage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from study.design import planned_trials
from study.errors import LedgerError
from study.hyperparameters import TrialConfig
from study.layout import StudyLayout
from study.ledger.entries import (
    ASKED,
    ATTEMPTS,
    DECIDED,
    ENDED,
    EPOCH_PREFIX,
    EVALUATION,
    PRUNED,
    TOLD,
    Epoch,
    stored_epochs,
    to_record,
)
from study.ledger.journal import open_storage, publish, refuse_existing
from study.ledger.pruners import build_pruner
from study.ledger.samplers import SeededTrial, build_sampler
from study.records import DataSummary, EpochMetrics, FinalLook, StopReason, TrialRecord, TrialState
from study.space import suggest, trial_config
from study.spec import StudySpec

_ENDED_AT = "ended_at_s"
_LOOKS = "test_looks"
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OptunaError)


@dataclass(frozen=True)
class Assignment:
    """A trial to run: new, or interrupted and to be gone on with; one that was pruned is only evaluated.

    ``pruned`` is the epoch a trial was pruned after, None for one that was not.
    """

    config: TrialConfig
    record: TrialRecord
    pruned: int | None = None

    @property
    def trial(self) -> int:
        """The trial's number."""
        return self.record.trial


class Ledger:
    """The one durable state of a study.

    Only the driver that holds the study's lock writes; anybody may read at any time.
    Every method that returns has its effect on disk.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage) -> None:
        self._study = study
        self._storage = storage
        self._attrs = study.user_attrs
        self.spec = StudySpec.model_validate_json(self._attrs["spec"])
        self._interrupted = [one.number for one in self._trials() if not one.state.is_finished()]

    @classmethod
    def create(
        cls,
        layout: StudyLayout,
        spec: StudySpec,
        study_file: str,
        *,
        data: DataSummary,
        notices: Sequence[str] = (),
    ) -> Ledger:
        """Begin a new study.

        Args:
            layout: the study's paths.
            spec: what is really run: values that cannot be run are gone already.
            study_file: the study file as it was given.
            data: a resumed study must find the same data.
            notices: what the record must say of the study, such as a value dropped from the space.

        Raises:
            LedgerError: there is one already.
        """
        refuse_existing(layout, spec.name)
        direction: Literal["maximize", "minimize"] = "maximize" if spec.objective.mode == "max" else "minimize"
        staging = layout.ledger.with_name(f".{layout.ledger.name}.part")
        staging.unlink(missing_ok=True)
        study = optuna.create_study(storage=open_storage(staging), study_name=spec.name, direction=direction)
        for key, value in {
            "study_id": uuid.uuid4().hex,
            "spec": spec.model_dump_json(),
            "study_file": study_file,
            "data": asdict(data),
            "notices": list(notices),
            "created_at_s": time.time(),
        }.items():
            study.set_user_attr(key, value)
        publish(staging, layout.ledger)  # a half-made study is never seen
        staging.with_name(f"{staging.name}.lock").unlink(missing_ok=True)
        return cls.open(layout)

    @classmethod
    def open(cls, layout: StudyLayout) -> Ledger:
        """Open an existing study.

        Raises:
            LedgerError: there is none, or its file is damaged.
        """
        if not layout.ledger.exists():
            raise LedgerError(f"no study in {layout.root}; `study list` shows those there are")
        try:
            storage = open_storage(layout.ledger)
            (name,) = optuna.get_all_study_names(storage)
            return cls(optuna.load_study(study_name=name, storage=storage), storage)
        except _DAMAGE as error:
            raise LedgerError(
                f"{layout.ledger} must be a whole journal of one study, but is damaged ({error}); "
                "restore it from a backup, or move the folder away to start again"
            ) from error

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def study_id(self) -> str:
        """An identifier that never changes, unlike the name unique everywhere."""
        return str(self._attrs["study_id"])

    @property
    def study_file(self) -> str:
        """The study file as it was given."""
        return str(self._attrs["study_file"])

    @property
    def created_at_s(self) -> float:
        """When the study began, in seconds since 1970."""
        return float(self._attrs["created_at_s"])

    @property
    def notices(self) -> tuple[str, ...]:
        """What the record must say of the study, such as a value that was dropped from the space."""
        return tuple(self._attrs.get("notices", ()))

    @property
    def data(self) -> DataSummary:
        """What the study runs on."""
        stored = self._attrs["data"]
        return DataSummary(**{**stored, "classes": tuple(stored["classes"]), "skipped": tuple(stored["skipped"])})

    @property
    def looks(self) -> tuple[FinalLook, ...]:
        """Every look at the test images, the first one first."""
        return tuple(FinalLook(**one) for one in self._study.user_attrs.get(_LOOKS, ()))

    def note_look(self, look: FinalLook) -> None:
        """Remember that the test images were looked at; the caller holds the study's lock."""
        self._study.set_user_attr(_LOOKS, [asdict(one) for one in (*self.looks, look)])

    def require_data(self, fingerprint: str) -> None:
        """Make sure that the data is what the study began on.

        Raises:
            LedgerError: it changed.
        """
        known = self.data.fingerprint
        if known != fingerprint:
            raise LedgerError(
                f"a study's data must stay the same, but `{self.name}` began on {known[:12]} "
                f"and the data is now {fingerprint[:12]}; put it back, or start another study with --name"
            )

    @property
    def planned(self) -> int:
        """How many trials there will be at most."""
        return planned_trials(self.spec)

    @property
    def is_finished(self) -> bool:
        """Whether all planned trials ended and everybody heard of it."""
        trials = self._trials()
        done = sum(one.state.is_finished() for one in trials)
        return done >= self.planned and _ENDED_AT in self._study.user_attrs

    def note_end(self) -> None:
        """Note that everybody heard of the study's end, so that a resume has nothing to say again."""
        self._study.set_user_attr(_ENDED_AT, time.time())

    def ask(self) -> Assignment | None:
        """Return the next trial: interrupted ones first, then new ones, None when all planned ones were asked."""
        if self._interrupted:
            number = self._interrupted.pop(0)
            trial_id = self._trials()[number]._trial_id
        else:
            number = len(self._trials())
            if number >= self.planned:
                return None
            self._study.sampler = build_sampler(self.spec, number)
            trial_id = self._study.ask()._trial_id
        trial = SeededTrial(self._study, trial_id, self.spec)
        params = suggest(trial, self.spec.space)
        config = trial_config(self.spec, params, point=trial.number)
        known = trial.user_attrs
        if ASKED not in known:
            self._set(number, ASKED, {"params": params, "config": config.model_dump(), "started_at_s": time.time()})
        self._set(number, ATTEMPTS, int(known.get(ATTEMPTS, 0)) + 1)
        return Assignment(config, self.record(number), trial.user_attrs.get(PRUNED))

    def assignment(self, number: int) -> Assignment:
        """Return a trial that was asked for before."""
        record = self.record(number)
        config = TrialConfig.model_validate(record.config)
        return Assignment(config, record, self._trials()[number].user_attrs.get(PRUNED))

    def restarted(self, number: int) -> TrialRecord:
        """Note that a trial was placed on another worker after its own died."""
        self._set(number, ATTEMPTS, self.record(number).attempts + 1)
        return self.record(number)

    def report(self, number: int, metrics: EpochMetrics, checkpoint: str | None = None) -> bool:
        """Store one epoch with the checkpoint selected so far; return whether that was news.

        An epoch that was trained again with another result, because its checkpoint was lost, takes the old one's place.
        """
        trial, key = self._trials()[number], f"{EPOCH_PREFIX}{metrics.epoch}"
        known = trial.user_attrs.get(key, {}).get("values")
        if known == dict(metrics.values) and metrics.epoch in trial.intermediate_values:
            return False
        self._set(number, key, Epoch(metrics, time.time(), checkpoint).as_json())
        value = metrics.values[self.spec.objective.metric]
        self._storage.set_trial_intermediate_value(trial._trial_id, metrics.epoch, value)
        return True

    def epochs(self, number: int) -> list[Epoch]:
        """Return what was reported of a trial, the oldest epoch first."""
        return stored_epochs(self._trials()[number].user_attrs)

    def undecided(self) -> list[TrialRecord]:
        """Return the interrupted trials of which an epoch was stored and then neither kept nor told."""
        found = (self._trials()[number] for number in self._interrupted)
        return [
            self.record(one.number)
            for one in found
            if one.last_step is not None and one.user_attrs.get(DECIDED) != one.last_step
        ]

    def should_prune(self, number: int) -> bool:
        """Ask the pruner about the last reported epoch; what it once said of a trial there, it is not asked again."""
        trial = self._trials()[number]
        if PRUNED in trial.user_attrs:
            return True
        if trial.last_step is None or trial.user_attrs.get(DECIDED) == trial.last_step:
            return False
        if build_pruner(self.spec).prune(self._study, trial):
            self._set(number, PRUNED, trial.last_step)
            return True
        self._set(number, DECIDED, trial.last_step)
        return False

    def note_evaluation(self, number: int, values: Mapping[str, float]) -> None:
        """Store what the selected checkpoint scored on images it was not selected on."""
        if values:
            self._set(number, EVALUATION, dict(values))

    def tell(self, number: int, state: TrialState, reason: StopReason, *, error: str | None = None) -> TrialRecord:
        """End a trial, once and for ever; its value is its best epoch by the objective."""
        record = self.record(number)
        assert not record.state.is_finished, f"trial {number} was told before"
        self._set(number, ENDED, {"stop_reason": reason.value, "error": error, "finished_at_s": time.time()})
        self._study.tell(number, record.value if state is TrialState.COMPLETE else None, state=TOLD[state])
        if number in self._interrupted:
            self._interrupted.remove(number)
        return self.record(number)

    def records(self) -> list[TrialRecord]:
        """Return every trial in the order asked."""
        return [to_record(self.name, trial, self.spec.objective) for trial in self._trials()]

    def record(self, number: int) -> TrialRecord:
        """Return one trial."""
        return to_record(self.name, self._trials()[number], self.spec.objective)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _set(self, number: int, key: str, value: object) -> None:
        self._storage.set_trial_user_attr(self._trials()[number]._trial_id, key, value)

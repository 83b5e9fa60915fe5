"""The journal: a batch is written whole or not at all, cut anywhere it goes on, and older journals open."""

from __future__ import annotations

import fcntl
import json
import time
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from engine_fakes import DATA, Executioner, Killed, Listener, make_spec, make_storage, metrics, reopened
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.search.space import suggest, trial_config
from study.storage.journal import BatchedJournalStorage, JournalBackend
from study.storage.study_storage import StudyStorage

optuna.logging.set_verbosity(optuna.logging.WARNING)


def run_some(layout: StudyLayout, storage: StudyStorage) -> None:
    """Take trials through all that can happen to one."""
    for number in range(3):
        assignment = storage.ask()
        assert assignment is not None
        for epoch in (1, 2):
            storage.report(number, metrics(epoch, 0.5 + number / 10 + epoch / 100), f"epoch-{epoch}", 1.5)
            if storage.should_prune(number):
                break
        storage.note_evaluation(number, {"shifted.dark.auc": 0.25})
        state = TrialState.PRUNED if storage.stop_of(number) else TrialState.COMPLETE
        storage.tell(number, state, StopReason.PRUNED if state is TrialState.PRUNED else StopReason.FINISHED)


def test_one_write_each_for_an_ask_a_report_and_a_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = make_storage(tmp_path / "s", make_spec(pruner="none"))
    counter = Executioner()
    counter.install(monkeypatch, Listener())
    storage.ask()
    storage.report(0, metrics(1, 0.5))
    assert not storage.should_prune(0)
    storage.tell(0, TrialState.COMPLETE, StopReason.FINISHED)
    assert counter.writes == 3


def test_memory_and_file_agree_after_a_batch_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_some(layout, storage)
    storage.ask()
    before, size = storage.records(), layout.journal.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(JournalBackend, "_append", lambda journal, lines: (_ for _ in ()).throw(OSError(28, "no room")))
        for act in (
            lambda: storage.report(3, metrics(1, 0.5)),
            lambda: storage.tell(3, TrialState.FAILED, StopReason.ERROR),
            lambda: storage.stop(3, StopReason.USER),
            lambda: storage.place_alone(3),
            lambda: storage.note_end(),
        ):
            with pytest.raises(StudyStorageError, match="no room"):
                act()
    assert storage.records() == before == reopened(layout).records()
    assert layout.journal.stat().st_size == size
    assert storage.report(3, metrics(1, 0.5)), "the disk has room again"
    assert storage.records() == StudyStorage.open(layout).records()


def test_after_a_write_that_could_not_even_be_taken_back_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, layout = make_storage(tmp_path / "s")

    really = Path.open

    class Broken:
        """A file of a disk that fails after half of a line."""

        def __init__(self, path: Path) -> None:
            self._file = really(path, "ab", buffering=0)

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *fault: object) -> None:
            self._file.close()

        def fileno(self) -> int:
            return self._file.fileno()

        def write(self, lines: bytes) -> int:
            return self._file.write(lines[: len(lines) // 2])

        def truncate(self, size: int) -> int:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, *args, **kwargs: Broken(path))
        patch.setattr(fcntl, "flock", lambda file, kind: None)
        with pytest.raises(StudyStorageError, match="Input/output error"):
            storage.ask()
    with pytest.raises(StudyStorageError, match="an earlier write failed half-way"):
        storage.ask()
    again = reopened(layout)
    assert again.records() == []
    assert again.ask() is not None


def test_an_exception_in_a_batch_writes_nothing(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "s")
    storage, before = BatchedJournalStorage(layout.journal), layout.journal.read_bytes()

    def die_in_a_batch() -> None:
        with storage.batch():
            storage.set_study_user_attr(0, "a", 1)
            raise Killed

    with pytest.raises(Killed):
        die_in_a_batch()
    storage.set_study_user_attr(0, "b", 2)
    assert layout.journal.read_bytes()[len(before) :].count(b"\n") == 1
    assert "a" not in storage.get_study_user_attrs(0)


def test_a_driver_does_not_read_its_journal_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, layout = make_storage(tmp_path / "s")
    monkeypatch.setattr(JournalBackend, "_read", lambda journal: pytest.fail("read again"))
    run_some(layout, storage)
    monkeypatch.undo()
    assert storage.records() == StudyStorage.open(layout).records()


def as_an_earlier_version_wrote(layout: StudyLayout, spec: StudySpec) -> None:
    """Write a study as it was stored when points were trials: one finished, one pruned, one half asked for."""
    layout.root.mkdir(parents=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(layout.journal))),
        study_name=spec.name,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    attrs = {"study_id": "1", "spec": spec.model_dump_json(), "study_file": "name: crash\n", "data": asdict(DATA)}
    for key, value in {**attrs, "notices": [], "created_at_s": time.time()}.items():
        study.set_user_attr(key, value)
    for number in range(2):
        trial = study.ask()
        params = suggest(trial, spec.space)
        config = trial_config(spec, params, point=number).model_dump(exclude={"replicate"} if number else {"point"})
        trial.set_user_attr("asked", {"params": params, "config": config, "started_at_s": time.time()})
        trial.set_user_attr("attempts", 1)
        trial.set_user_attr("epoch:1", {"values": {"val_auc": 0.5}, "at_s": time.time(), "checkpoint": "a"})
        trial.report(0.5, 1)
        if number:
            trial.set_user_attr("pruned_epoch", 1)
        reason = "pruned" if number else "finished"
        trial.set_user_attr("ended", {"stop_reason": reason, "error": None, "finished_at_s": time.time()})
        study.tell(trial, None if number else 0.5, state=optuna.trial.TrialState(2 if number else 1))
    study.ask().suggest_categorical("optimizer", ("sgd", "adam"))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_of_an_earlier_version_is_read_and_gone_on_with(tmp_path: Path, sampler: str) -> None:
    layout, spec = StudyLayout(tmp_path / "s"), make_spec(4, sampler=sampler)  # type: ignore[arg-type]
    as_an_earlier_version_wrote(layout, spec)
    half = json.loads(layout.journal.read_bytes().splitlines()[-1])
    storage = reopened(layout)
    assert [(record.point, record.state, record.stop_reason) for record in storage.records()] == [
        (0, TrialState.COMPLETE, StopReason.FINISHED),
        (1, TrialState.PRUNED, StopReason.PRUNED),
        (2, TrialState.RUNNING, None),
    ]
    assert (storage.planned, storage.given, storage.environment, storage.warm_start) == (4, spec, {}, ())
    asked = storage.ask()
    assert asked is not None
    assert asked.trial == 2
    assert asked.config.optimizer == ("sgd", "adam")[int(half["param_value_internal"])]
    assert asked.record.params.keys() >= {"optimizer", "learning_rate"}
    storage.tell(2, TrialState.FAILED, StopReason.ERROR)
    third = storage.ask()
    assert third is not None
    assert (third.trial, third.record.point, third.record.replicate) == (3, 3, 0)
    storage.tell(3, TrialState.FAILED, StopReason.ERROR)
    assert storage.ask() is None
    assert StudyStorage.open(layout).records() == storage.records()
    assert storage.driven_s(time.time() + 1e6) < 100.0

"""The journal: a batch is written whole or not at all, cut anywhere it goes on, and older journals open."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from engine_fakes import DATA, Executioner, Killed, Listener, drive, make_ledger, make_spec, metrics, reopened, story
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.config.study_config import StudySpec
from study.errors import LedgerError
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.search.space import suggest, trial_config
from study.storage.journal import BatchedJournalStorage, JournalFile
from study.storage.study_storage import StudyStorage

optuna.logging.set_verbosity(optuna.logging.WARNING)


def run_some(layout: StudyLayout, ledger: StudyStorage) -> None:
    """Take trials through all that can happen to one."""
    for number in range(3):
        assignment = ledger.ask()
        assert assignment is not None
        for epoch in (1, 2):
            ledger.report(number, metrics(epoch, 0.5 + number / 10 + epoch / 100), f"epoch-{epoch}", 1.5)
            if ledger.should_prune(number):
                break
        ledger.note_evaluation(number, {"shifted.dark.auc": 0.25})
        state = TrialState.PRUNED if ledger.stop_of(number) else TrialState.COMPLETE
        ledger.tell(number, state, StopReason.PRUNED if state is TrialState.PRUNED else StopReason.FINISHED)


def test_one_write_each_for_an_ask_a_report_and_a_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, _ = make_ledger(tmp_path / "s", make_spec(pruner="none"))
    counter = Executioner()
    counter.install(monkeypatch, Listener())
    ledger.ask()
    ledger.report(0, metrics(1, 0.5))
    assert not ledger.should_prune(0)
    ledger.tell(0, TrialState.COMPLETE, StopReason.FINISHED)
    assert counter.writes == 3


def test_a_study_cut_at_any_byte_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole_layout = StudyLayout(tmp_path / "whole" / "study")
    make_ledger(whole_layout.root, make_spec(3, seed=1))
    begun = whole_layout.ledger.stat().st_size
    drive(whole_layout, Listener())
    whole, expected = (
        whole_layout.ledger.read_bytes(),
        [story(one)[:8] for one in StudyStorage.open(whole_layout).records()],
    )
    for at, size in enumerate(range(begun, len(whole), 53)):
        layout = StudyLayout(tmp_path / str(at) / "study")
        layout.root.mkdir(parents=True)
        layout.ledger.write_bytes(whole[:size])
        drive(layout, Listener())
        assert [story(one)[:8] for one in StudyStorage.open(layout).records()] == expected, f"{size=}"


def test_memory_and_file_agree_after_a_batch_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, layout = make_ledger(tmp_path / "s")
    run_some(layout, ledger)
    ledger.ask()
    before, size = ledger.records(), layout.ledger.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(JournalFile, "_append", lambda journal, lines: (_ for _ in ()).throw(OSError(28, "no room")))
        for act in (
            lambda: ledger.report(3, metrics(1, 0.5)),
            lambda: ledger.tell(3, TrialState.FAILED, StopReason.ERROR),
            lambda: ledger.stop(3, StopReason.USER),
            lambda: ledger.place_alone(3),
            lambda: ledger.note_end(),
        ):
            with pytest.raises(LedgerError, match="no room"):
                act()
    assert ledger.records() == before == reopened(layout).records()
    assert layout.ledger.stat().st_size == size
    assert ledger.report(3, metrics(1, 0.5)), "the disk has room again"
    assert ledger.records() == StudyStorage.open(layout).records()


def test_after_a_write_that_could_not_even_be_taken_back_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, layout = make_ledger(tmp_path / "s")

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
        patch.setattr(JournalFile, "append_lines", _without_lock)
        with pytest.raises(OSError, match="Input/output error"):
            ledger.ask()
    with pytest.raises(LedgerError, match="an earlier write failed half-way"):
        ledger.ask()
    again = reopened(layout)
    assert again.records() == []
    assert again.ask() is not None


def _without_lock(journal: JournalFile, lines: list[str]) -> None:
    journal._append("".join(f"{line}\n" for line in lines).encode())


def test_an_exception_in_a_batch_writes_nothing(tmp_path: Path) -> None:
    _, layout = make_ledger(tmp_path / "s")
    storage, before = BatchedJournalStorage(layout.ledger), layout.ledger.read_bytes()

    def die_in_a_batch() -> None:
        with storage.batch():
            storage.set_study_user_attr(0, "a", 1)
            raise Killed

    with pytest.raises(Killed):
        die_in_a_batch()
    storage.set_study_user_attr(0, "b", 2)
    assert layout.ledger.read_bytes()[len(before) :].count(b"\n") == 1
    assert "a" not in storage.get_study_user_attrs(0)


def test_a_driver_does_not_read_its_journal_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, layout = make_ledger(tmp_path / "s")
    monkeypatch.setattr(JournalFile, "read_logs", lambda journal, since: pytest.fail("read again"))
    run_some(layout, ledger)
    monkeypatch.undo()
    assert ledger.records() == StudyStorage.open(layout).records()


def as_an_earlier_version_wrote(layout: StudyLayout, spec: StudySpec) -> None:
    """Write a study as it was stored when points were trials: one finished, one pruned, one half asked for."""
    layout.root.mkdir(parents=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(layout.ledger))),
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
    half = json.loads(layout.ledger.read_bytes().splitlines()[-1])
    ledger = reopened(layout)
    assert [(one.point, one.state, one.stop_reason) for one in ledger.records()] == [
        (0, TrialState.COMPLETE, StopReason.FINISHED),
        (1, TrialState.PRUNED, StopReason.PRUNED),
        (2, TrialState.RUNNING, None),
    ]
    assert (ledger.planned, ledger.given, ledger.environment, ledger.warm_start) == (4, spec, {}, ())
    asked = ledger.ask()
    assert asked is not None
    assert asked.trial == 2
    assert asked.config.optimizer == ("sgd", "adam")[int(half["param_value_internal"])]
    assert asked.record.params.keys() >= {"optimizer", "learning_rate"}
    ledger.tell(2, TrialState.FAILED, StopReason.ERROR)
    third = ledger.ask()
    assert third is not None
    assert (third.trial, third.record.point, third.record.replicate) == (3, 3, 0)
    ledger.tell(3, TrialState.FAILED, StopReason.ERROR)
    assert ledger.ask() is None
    assert StudyStorage.open(layout).records() == ledger.records()
    assert ledger.driven_s(time.time() + 1e6) < 100.0

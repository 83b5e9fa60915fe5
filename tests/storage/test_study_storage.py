"""A study's storage: what was asked, reported and told stays so, whatever happens in between."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_fakes import Executioner, Killed, Listener, learning_curve, make_spec, make_storage, metrics, reopened

from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.storage.lock import driver_lock, is_driven
from study.storage.study_storage import StudyStorage


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Refuse to write files beyond a size, as a full disk does: part of a line is written first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_one(storage: StudyStorage) -> None:
    """Take one trial from its start to its end."""
    assignment = storage.ask()
    assert assignment is not None
    for epoch in (1, 2, 3):
        storage.report(assignment.trial, metrics(epoch, learning_curve(assignment.config, epoch)), f"epoch-{epoch}")
    storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)


def test_interrupted_trials_come_first_and_keep_their_values(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    asked = [storage.ask(), storage.ask()]
    again = reopened(layout)
    assignments = [again.ask(), again.ask(), again.ask(), again.ask()]
    assert [assignment and assignment.trial for assignment in assignments] == [1, 2, 3, None]
    assert [assignment and assignment.config for assignment in assignments[:2]] == [
        assignment and assignment.config for assignment in asked
    ]
    assert [assignment.record.attempts for assignment in assignments[:3] if assignment] == [2, 2, 1]


@pytest.mark.parametrize("moment", ["before", "torn"])
def test_create_is_all_or_nothing(tmp_path: Path, moment: str) -> None:
    at = 0
    while True:
        at += 1
        layout = StudyLayout(tmp_path / str(at))
        with pytest.MonkeyPatch.context() as patch:
            Executioner(at, moment).install(patch, Listener())
            try:
                make_storage(layout.root)
            except Killed:
                assert not layout.journal.exists()
            else:
                break
        storage, _ = make_storage(layout.root)
        assert storage.spec == make_spec()
    assert at > 2


def test_a_name_is_used_once(tmp_path: Path) -> None:
    make_storage(tmp_path / "s")
    with pytest.raises(StudyStorageError, match=r"`crash` exists; `study resume s --results .*` goes on"):
        make_storage(tmp_path / "s")


def test_a_full_disk_is_said_and_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    before, size = storage.records(), layout.journal.stat().st_size
    refusals = []
    for room in range(0, 20_000, 201):
        try:
            with file_size_limit(size + room):
                run_one(storage)
        except StudyStorageError as error:
            refusals.append(str(error))
        assert layout.journal.read_bytes().endswith(b"\n")
        storage = reopened(layout)
        assert storage.records()[0] == before[0]
        if len(storage.records()) == 2 and storage.record(1).state.is_finished:
            break
    assert storage.record(1).state is TrialState.COMPLETE
    assert len(refusals) > 10
    assert all("must be able to write" in refusal for refusal in refusals)


def test_a_concurrent_reader_never_sees_half_a_line(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    whole = layout.journal.read_bytes()
    records = storage.records()
    last_line = whole.rstrip(b"\n").rfind(b"\n") + 1
    for size in range(last_line, len(whole)):
        layout.journal.write_bytes(whole[:size])
        (record,) = StudyStorage.open(layout).records()
        assert record.history == records[0].history
        assert record.state is TrialState.RUNNING


@pytest.mark.parametrize("tail", [b'{"op_code":6,"wor', b"\0\0\0\0", b"\0\0\0\n"])
def test_what_a_kill_or_a_power_cut_left_of_a_line_is_cut(tmp_path: Path, tail: bytes) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    with layout.journal.open("ab") as file:
        file.write(tail)
    again = reopened(layout)
    run_one(again)
    assert [record.state for record in StudyStorage.open(layout).records()] == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize("damage", ["empty", "middle", "head"])
def test_a_damaged_journal_is_refused_with_a_way_out(tmp_path: Path, damage: str) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    lines = layout.journal.read_bytes().splitlines(keepends=True)
    broken = {"empty": [], "middle": [*lines[:9], b"no json\n", *lines[10:]], "head": lines[3:]}[damage]
    layout.journal.write_bytes(b"".join(broken))
    with pytest.raises(StudyStorageError, match="restore it from a backup"):
        StudyStorage.open(layout)


def test_a_trial_ends_once_and_for_good(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    run_one(storage)
    before = layout.journal.read_bytes()
    with pytest.raises(AssertionError, match="ended before"):
        storage.tell(0, TrialState.FAILED, StopReason.ERROR)
    assert layout.journal.read_bytes() == before


def test_an_epoch_reported_twice_is_stored_once_and_one_trained_again_takes_its_place(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    storage.ask()
    assert storage.report(0, metrics(1, 0.5), "a")
    size = layout.journal.stat().st_size
    assert not storage.report(0, metrics(1, 0.5), "a")
    assert layout.journal.stat().st_size == size
    assert storage.report(0, metrics(1, 0.625), "b")
    record = storage.tell(0, TrialState.PRUNED, StopReason.PRUNED)
    assert (record.value, record.checkpoint, len(record.history)) == (0.625, "b", 1)


def test_an_error_that_was_stored_but_not_told_is_forgotten(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "s")
    storage.ask()
    size = layout.journal.stat().st_size
    storage.tell(0, TrialState.FAILED, StopReason.ERROR, error="MemoryError")
    written = layout.journal.read_bytes()
    layout.journal.write_bytes(written[: written.index(b"\n", size) + 1])  # a kill between two lines of one write
    again = reopened(layout)
    assert again.record(0).error is None
    run_one(again)
    assert (again.record(0).state, again.record(0).error) == (TrialState.COMPLETE, None)


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    _, layout = make_storage(tmp_path / "s")
    assert not is_driven(layout)
    with driver_lock(layout):
        assert is_driven(layout)
        with pytest.raises(StudyStorageError, match="already runs `s`"), driver_lock(layout):
            raise AssertionError("two drivers")
    assert not is_driven(layout)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StudyStorageError, match="must be writable"), driver_lock(StudyLayout(tmp_path / "file" / "s")):
        raise AssertionError("no lock")


def test_changed_data_is_refused(tmp_path: Path) -> None:
    storage, _ = make_storage(tmp_path / "s")
    storage.require_data("f" * 64)
    with pytest.raises(StudyStorageError, match="data must stay the same"):
        storage.require_data("e" * 64)


def test_the_disk_error_keeps_the_systems_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = make_storage(tmp_path / "s")

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StudyStorageError, match="No space left on device"):
        storage.ask()

"""The index of a storage: reading with it, without it and past it gives what the storage itself says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import ROOT
from reading_kit import begin, run_one

from study.config.search_config import ReplicatesSpec, SearchSpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import FinalLook, TrialState
from study.storage import reader as index_file
from study.storage import reader as index_reading
from study.storage.reader import StudyView, read_epochs, read_study, refresh
from study.storage.study_storage import StudyStorage

C, P, F, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every study, however small, be worth an index."""
    monkeypatch.setattr(index_reading, "WORTH_BYTES", 1)


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return StudyLayout(tmp_path / "s")


def agrees(view: StudyView, storage: StudyStorage, *, epochs: bool = False) -> None:
    """Make sure that a view says what the storage does."""
    records = storage.records() if epochs else [replace(one, history=()) for one in storage.records()]
    assert view.records == records
    assert [list(one.params) for one in view.records] == [list(one.params) for one in records]
    for name in ("name", "spec", "study_id", "data", "notices", "environment", "created_at_s", "planned", "is_finished",
                 "looks", "extensions", "end_reason", "warm_start", "given", "study_file"):  # fmt: skip
        assert getattr(view, name) == getattr(storage, name), name
    assert view.counts == storage.counts()


def eventful(layout: StudyLayout) -> StudyStorage:
    """Run a study with every kind of ending, some weights dropped and the test images looked at."""
    storage = begin(layout, trials=9)
    for state in (C, P, F, C, R, C):
        run_one(storage, state)
    storage.note_dropped([0, 3])
    storage.note_evaluation(4, {"shifted.dark.auc": 0.5})
    storage.record_test_evaluation(FinalLook(5, 2, "val_auc", 1.0, {"auc": 0.9}))
    return storage


def test_without_an_index_all_of_the_journal_is_read(layout: StudyLayout) -> None:
    storage = eventful(layout)
    agrees(read_study(layout), StudyStorage.open(layout))
    agrees(read_study(layout, epochs=True), storage, epochs=True)
    assert not layout.index.exists()  # a small journal is not worth one


@pytest.mark.usefixtures("indexed")
def test_what_came_after_the_index_is_read_from_the_journal(layout: StudyLayout) -> None:
    storage = eventful(layout)
    refresh(layout)
    assert json.loads(layout.index.read_bytes().split(b"\n")[0])["offset"] == layout.journal.stat().st_size
    agrees(read_study(layout), storage)
    again = StudyStorage.open(layout)  # the open trial goes on, others follow
    for state in (C, F, P, R):
        run_one(again, state)
    again.note_dropped([5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_reading, "WORTH_BYTES", 10**9)
        before = layout.index.read_bytes()
        agrees(read_study(layout), again)
        assert layout.index.read_bytes() == before
    agrees(read_study(layout), again)
    assert layout.index.read_bytes() != before
    agrees(read_study(layout), again)
    agrees(read_study(layout, epochs=True), again, epochs=True)


@pytest.mark.usefixtures("indexed")
def test_runs_are_joined_wherever_the_record_comes_from(layout: StudyLayout) -> None:
    storage = eventful(layout)
    refresh(layout)
    run_one(storage, C)
    found = read_study(layout, {1: "run-1", 6: "run-6"}).records
    assert {one.trial: one.run_id for one in found if one.run_id} == {1: "run-1", 6: "run-6"}
    assert [one.trial for one in found if not one.kept] == [0, 3]


def spoil(layout: StudyLayout, how: str) -> None:
    content = layout.index.read_bytes()
    match how:
        case "cut":
            content = content[: len(content) // 2]
        case "changed":
            content = content.replace(b"0.5", b"0.6", 1)
        case "empty":
            content = b""
        case "other words":
            content = b"{}\n{}"
        case "another version":
            content = content.replace(b'"version": [2,', b'"version": [0,', 1)
        case "binary":
            content = bytes(range(256)) * 4
    layout.index.write_bytes(content)


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("how", ["cut", "changed", "empty", "other words", "another version", "binary"])
def test_a_damaged_index_is_passed_over_and_made_again(layout: StudyLayout, how: str) -> None:
    storage = eventful(layout)
    refresh(layout)
    whole = layout.index.read_bytes()
    spoil(layout, how)
    assert layout.index.read_bytes() != whole
    agrees(read_study(layout), storage)
    assert layout.index.read_bytes() == whole


@pytest.mark.usefixtures("indexed")
def test_an_index_of_another_journal_is_passed_over(tmp_path: Path) -> None:
    one, other = StudyLayout(tmp_path / "a"), StudyLayout(tmp_path / "b")
    eventful(one)
    storage = eventful(other)
    refresh(one)
    other.index.write_bytes(one.index.read_bytes())
    agrees(read_study(other), storage)
    cut = one.journal.read_bytes()
    one.journal.write_bytes(cut[: cut.rfind(b"\n", 0, -1) + 1])  # older than its index
    agrees(read_study(one), StudyStorage.open(one))


def edit(layout: StudyLayout) -> None:
    """Change a value in the middle of the journal, far from both ends, and leave its length."""
    content = layout.journal.read_bytes()
    at = content.index(b'"val_auc":0.5', len(content) // 3)
    assert 1 << 16 < at < len(content) - (1 << 16)
    layout.journal.write_bytes(content[: at + 12] + b"9" + content[at + 13 :])


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("appended", [False, True])
def test_a_journal_that_was_edited_anywhere_has_no_index(layout: StudyLayout, appended: bool) -> None:
    storage = begin(layout, trials=400)
    for _ in range(200):
        run_one(storage)
    before = read_study(layout).records
    if appended:
        run_one(storage)
    edit(layout)
    agrees(read_study(layout), StudyStorage.open(layout))
    assert read_study(layout).records[: len(before)] != before
    agrees(read_study(layout), StudyStorage.open(layout))


@pytest.mark.usefixtures("indexed")
def test_what_was_read_once_is_hashed_once_at_most(layout: StudyLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = eventful(layout)
    hashed: list[int] = []
    whole = index_file.hashlib.sha256

    class Counting:
        def __init__(self, content: bytes = b"") -> None:
            self._hash = whole(content)

        def update(self, block: bytes) -> None:
            hashed.append(len(block))
            self._hash.update(block)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    monkeypatch.setattr(index_file, "hashlib", SimpleNamespace(sha256=Counting))
    read_study(layout)
    size = layout.journal.stat().st_size
    assert sum(hashed) == size  # to write the index
    hashed.clear()
    agrees(read_study(layout), storage)
    assert hashed == []  # nobody wrote to it since
    run_one(storage)
    read_study(layout)  # as it was, and so the index serves: what came is read, and with it hashed
    assert sum(hashed) == layout.journal.stat().st_size
    hashed.clear()
    os.utime(layout.journal)
    agrees(read_study(layout), storage)
    assert sum(hashed) == layout.journal.stat().st_size


@pytest.mark.usefixtures("indexed")
def test_a_folder_that_cannot_be_written_can_be_read(layout: StudyLayout) -> None:
    storage = eventful(layout)
    layout.index.mkdir()  # nothing can take its place
    agrees(read_study(layout), storage)
    assert list(layout.root.glob(".*.part")) == []


def test_a_torn_end_is_left_for_later(layout: StudyLayout) -> None:
    storage = eventful(layout)
    whole = layout.journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    for tail in (b'{"op_code":8,"trial_id":4', b'{"op_code"\n', b"\x00\x00\x00", lines[-2][:-5]):
        layout.journal.write_bytes(whole + tail)
        agrees(read_study(layout), storage)
    followed = json.dumps({"op_code": 2, "study_id": 0, "user_attr": {"ended_at_s": 1.0}, "followed": True},
                          separators=(",", ":")).encode()  # fmt: skip
    layout.journal.write_bytes(whole + followed + b"\n")  # the rest of the batch was never written
    agrees(read_study(layout), storage)


def test_the_epochs_of_a_torn_batch_are_left_for_later(layout: StudyLayout) -> None:
    storage = eventful(layout)
    whole, known = layout.journal.read_bytes(), storage.epochs(4)
    epoch = {"values": {"val_auc": 0.9}, "at_s": 1.0, "checkpoint": None}
    head = {"op_code": 8, "worker_id": "w", "trial_id": 4, "user_attr": {"epoch:3": epoch}}
    followed, last = (
        json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in ({**head, "followed": True}, head)
    )
    for tail in (
        followed,
        followed * 2,
        followed + last[:-9],
        followed + last[:-9] + b"\n",
        last[:-9] + b"\n",
        last[:-1],
    ):
        layout.journal.write_bytes(whole + tail)
        assert read_epochs(layout, 4) == known
    layout.journal.write_bytes(whole + followed + last)
    assert [one.metrics.epoch for one in read_epochs(layout, 4)] == [1, 2, 3]


def test_damage_is_told_as_the_storage_tells_it(layout: StudyLayout) -> None:
    eventful(layout)
    whole = layout.journal.read_bytes()
    for content in (b"no json\n" + whole, whole + b"[]\n" + whole, b"", whole + b'{"op_code":1,"study_id":0}\n'):
        layout.journal.write_bytes(content)
        with pytest.raises(StudyStorageError, match="must be a whole journal of one study, but is damaged"):
            read_study(layout)
    refresh(layout)  # leaves it to whoever reads
    layout.journal.unlink()
    with pytest.raises(StudyStorageError, match="no study in"):
        read_study(layout)
    with pytest.raises(StudyStorageError, match="damaged"):
        read_epochs(layout, 0)


def test_the_epochs_of_one_trial_are_read_without_the_others(layout: StudyLayout) -> None:
    storage = begin(layout, trials=12)
    for at in range(12):
        run_one(storage, C if at else R, epochs=at % 4)
    for number in range(12):
        assert read_epochs(layout, number) == storage.epochs(number)
    assert read_epochs(layout, 1000) == []


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("listed", [True, False])
def test_how_many_are_planned_is_known_with_replicates(layout: StudyLayout, listed: bool) -> None:
    search = SearchSpec(sampler="random", trials=12, pruner="none")
    design = {"design": {"kind": "grid"}, "search": SearchSpec(pruner="none")} if listed else {"search": search}
    space = {"space": begin(StudyLayout(layout.root / "x")).spec.space[2:]}
    storage = begin(layout, replicates=ReplicatesSpec(count=2), **design, **space)  # type: ignore[arg-type]
    for state in (P, C, P, C, C, C, R):
        run_one(storage, state)
        agrees(read_study(layout), storage)


def test_reading_loads_nothing_heavy(layout: StudyLayout) -> None:
    eventful(layout)
    heavy = ("optuna", "ray", "torch", "pandas", "mlflow", "sqlalchemy")
    code = (
        "import sys\nfrom pathlib import Path\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        f"for words in (['list'], ['show'], ['compare'], ['best'], ['show', 's/1'], ['diff', 's/1', 's/2']):\n"
        f"    done = CliRunner().invoke(app, [*words, '--results', {str(layout.root.parent)!r}])\n"
        f"    assert done.exit_code == 0, (words, done.output, done.exception)\n"
        f"print([one for one in {heavy} if one in sys.modules])"
    )
    (layout.root.parent / "studies").mkdir()
    layout.root.rename(layout.root.parent / "studies" / "s")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr

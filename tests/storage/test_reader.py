"""Reading the journal alone gives what the storage itself says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from commands import ROOT
from reading_kit import begin, run_one

from study.config.search_config import ReplicatesSpec, SearchSpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import FinalLook, TrialState
from study.storage.journal_format import Operation
from study.storage.reader import StudyView, read_epochs, read_study
from study.storage.study_storage import StudyStorage
from study.trials.serialization import STATES

C, P, F, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return StudyLayout(tmp_path / "s")


def agrees(view: StudyView, storage: StudyStorage, *, epochs: bool = False) -> None:
    """Make sure that a view says what the storage does."""
    records = storage.records() if epochs else [replace(record, history=()) for record in storage.records()]
    assert view.records == records
    assert [list(record.params) for record in view.records] == [list(record.params) for record in records]
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


@pytest.mark.parametrize("epochs", [False, True])
def test_what_was_appended_is_read_too(layout: StudyLayout, epochs: bool) -> None:
    storage = eventful(layout)
    agrees(read_study(layout, epochs=epochs), storage, epochs=epochs)
    again = StudyStorage.open(layout)  # the open trial goes on, others follow
    for state in (C, F, P, R):
        run_one(again, state)
    again.note_dropped([5])
    agrees(read_study(layout, epochs=epochs), again, epochs=epochs)


def test_runs_and_dropped_weights_are_joined(layout: StudyLayout) -> None:
    run_one(eventful(layout), C)
    records = read_study(layout, {1: "run-1", 6: "run-6"}).records
    assert {record.trial: record.run_id for record in records if record.run_id} == {1: "run-1", 6: "run-6"}
    assert [record.trial for record in records if not record.kept] == [0, 3]


def test_the_index_that_earlier_versions_wrote_is_ignored(layout: StudyLayout) -> None:
    storage = eventful(layout)
    (layout.root / "ledger.index").write_bytes(b"{}\n{}")
    agrees(read_study(layout), storage)


def test_operations_and_states_are_numbered_as_in_optuna() -> None:
    from optuna.storages.journal._storage import JournalOperation  # Optuna publishes the file format nowhere else

    theirs = {operation.name: operation.value for operation in JournalOperation}
    assert {operation.name: operation.value for operation in Operation} == theirs, (
        f"the journal is read as Optuna 5.0.0 writes it, but Optuna is {optuna.__version__}"
    )
    states = {state.value: TrialState.FAILED if state.name == "FAIL" else TrialState[state.name]
              for state in optuna.trial.TrialState}  # fmt: skip
    assert states == STATES, f"states are read as Optuna 5.0.0 writes them, but Optuna is {optuna.__version__}"


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
        json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in ({**head, "followed": True}, head)
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
    assert [epoch.metrics.epoch for epoch in read_epochs(layout, 4)] == [1, 2, 3]


def test_damage_is_told_as_the_storage_tells_it(layout: StudyLayout) -> None:
    eventful(layout)
    whole = layout.journal.read_bytes()
    for content in (b"no json\n" + whole, whole + b"[]\n" + whole, b"", whole + b'{"op_code":1,"study_id":0}\n'):
        layout.journal.write_bytes(content)
        with pytest.raises(StudyStorageError, match="must be a whole journal of one study, but is damaged"):
            read_study(layout)
    layout.journal.unlink()
    with pytest.raises(StudyStorageError, match="no study in"):
        read_study(layout)
    with pytest.raises(StudyStorageError, match="damaged"):
        read_epochs(layout, 0)


@pytest.mark.parametrize(
    "attribute",
    ["notices", "environment", "warm_start", "extensions", "data", "test_looks", "end_reason", "given"],
)
def test_an_attribute_of_another_type_is_damage(layout: StudyLayout, attribute: str) -> None:
    eventful(layout)
    line = json.dumps({"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {attribute: 5}})
    layout.journal.write_bytes(layout.journal.read_bytes() + line.encode() + b"\n")
    with pytest.raises(StudyStorageError, match="is damaged"):
        read_study(layout)


def test_the_epochs_of_one_trial_are_read_without_the_others(layout: StudyLayout) -> None:
    storage = begin(layout, trials=12)
    for at in range(12):
        run_one(storage, C if at else R, epochs=at % 4)
    for number in range(12):
        assert read_epochs(layout, number) == storage.epochs(number)
    assert read_epochs(layout, 1000) == []


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
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    (layout.root.parent / "studies").mkdir()
    layout.root.rename(layout.root.parent / "studies" / "s")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr

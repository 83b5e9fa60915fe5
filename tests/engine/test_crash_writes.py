"""Kill the driver at every single write of a study; nothing may be lost, run twice or told twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import Executioner, Killed, Listener, check_whole, drive, make_spec, make_storage, story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.events import EpochReported
from study.paths import StudyLayout
from study.records import StudyOutcome, TrialRecord, TrialState

SPEC = make_spec(trials=4, epochs=3, seed=1)


def run_killed(root: Path, at: int, moment: str, slots: int, listener: Listener, *, evaluates: bool = False) -> bool:
    """Run or go on with the study and die at a write; return whether it came to its end before."""
    with pytest.MonkeyPatch.context() as patch:
        Executioner(at, moment).install(patch, listener)
        try:
            layout = StudyLayout(root)
            if not layout.journal.exists():
                make_storage(root, SPEC)
            drive(layout, listener, slots=slots, evaluates=evaluates)
        except Killed:
            return False
        finally:
            listener.on_record = lambda write: write() and None
    return True


def run_to_end(root: Path, slots: int, listener: Listener, *, evaluates: bool = False) -> list[TrialRecord]:
    assert run_killed(root, 0, "never", slots, listener, evaluates=evaluates)
    return check_whole(StudyLayout(root), listener)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TrialRecord], int]:
    return count_writes(tmp_path_factory.mktemp("whole") / "study", evaluates=False)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[TrialRecord], int]:
    return count_writes(tmp_path_factory.mktemp("evaluated") / "study", evaluates=True)


def count_writes(root: Path, *, evaluates: bool) -> tuple[list[TrialRecord], int]:
    """Return the trials of the study nobody killed, and how many writes it made."""
    listener, counter = Listener(), Executioner()
    with pytest.MonkeyPatch.context() as patch:
        counter.install(patch, listener)
        _, layout = make_storage(root, SPEC)
        drive(layout, listener, evaluates=evaluates)
    return check_whole(layout, listener), counter.writes


def test_the_study_has_something_of_everything(undisturbed: tuple[list[TrialRecord], int]) -> None:
    records, writes = undisturbed
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert {record.params["optimizer"] for record in records} == {"sgd", "adam"}
    assert writes > 40


@pytest.mark.parametrize("moment", ["before", "torn"])  # after one write is before the next
def test_a_kill_at_any_write_changes_nothing(
    tmp_path: Path, undisturbed: tuple[list[TrialRecord], int], moment: str
) -> None:
    records, writes = undisturbed
    expected = [_told(record) for record in records]
    for at in range(1, writes + 1):
        root, listener = tmp_path / f"{at}" / "study", Listener()
        assert not run_killed(root, at, moment, 1, listener)
        assert [_told(record) for record in run_to_end(root, 1, listener)] == expected, f"{at=}"


def test_a_kill_at_any_write_loses_no_evaluation(tmp_path: Path, evaluated: tuple[list[TrialRecord], int]) -> None:
    records, writes = evaluated
    expected = [(_told(record), dict(record.metrics)) for record in records]
    assert all(record.metrics["shifted.dark.auc"] for record in records), "a pruned trial is evaluated too"
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.PRUNED}
    for at in range(1, writes + 1):
        root, listener = tmp_path / f"{at}" / "study", Listener()
        assert not run_killed(root, at, "before", 1, listener, evaluates=True)
        again = run_to_end(root, 1, listener, evaluates=True)
        assert [(_told(record), dict(record.metrics)) for record in again] == expected, f"{at=}"


def test_a_power_cut_that_takes_the_last_reports_from_the_listener_is_made_up_for(
    tmp_path: Path, undisturbed: tuple[list[TrialRecord], int]
) -> None:
    records, writes = undisturbed
    expected, taken = [_told(record) for record in records], 0
    for at in range(1, writes + 1):
        root, listener = tmp_path / f"{at}" / "study", Listener()
        assert not run_killed(root, at, "before", 2, listener)
        while listener.events and isinstance(listener.events[-1], EpochReported):
            listener.events.pop()
            taken += 1
        again = run_to_end(root, 1, listener)
        assert len(again) == len(expected), f"{at=}"
    assert taken > writes / 4


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    evaluates=st.booleans(),
    kills=st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["before", "torn", "after"])), max_size=8),
)
def test_many_kills_of_parallel_trials_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, kills: list[tuple[int, str]], evaluates: bool
) -> None:
    root, listener = tmp_path_factory.mktemp("many") / "study", Listener()
    for at, moment in kills:
        run_killed(root, at, moment, 2, listener, evaluates=evaluates)
    run_to_end(root, 2, listener, evaluates=evaluates)


def test_a_resume_of_a_finished_study_writes_nothing(tmp_path: Path) -> None:
    listener = Listener()
    run_to_end(tmp_path / "study", 1, listener)
    layout = StudyLayout(tmp_path / "study")
    before = [story(record) for record in check_whole(layout, listener)]
    assert drive(layout, listener).outcome is StudyOutcome.FINISHED
    assert [story(record) for record in check_whole(layout, listener)] == before


def _told(record: TrialRecord) -> tuple[object, ...]:
    """Return a record's story but for where the study lies."""
    return tuple(Path(part).name if isinstance(part, str) and "epoch-" in part else part for part in story(record))

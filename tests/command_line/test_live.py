"""The live view: what it shows of a scripted study, on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import MemoryRecorder, Script
from rich.console import Console

from cli.run_session import RecorderGroup, WarningLines
from cli.views.live import LiveView, open_view
from cli.views.live_status import LiveStatus
from study.config.search_config import DesignSpec, ReplicatesSpec
from study.config.search_space import Choice, Parameter
from study.config.study_config import StudySpec
from study.events import StudyStarted, TrialFinished
from study.paths import StudyLayout
from study.records import StopReason, StudyOutcome, TrialState


def shown(board: LiveStatus) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(board.table())
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_board_counts_trials_and_knows_the_best_of_running_ones_too() -> None:
    script = Script()
    board = LiveStatus(script.spec())
    events = list(script.whole())
    running = events[: events.index(next(event for event in events if isinstance(event, TrialFinished)))]
    for event in running:
        board.take(event)
    assert "0 of 4 trials ended, 4 running; best val_auc 0.73000 (trial 3)" in shown(board)
    for event in events[len(running) :]:
        board.take(event)
    text = shown(board)
    assert "4 of 4 trials ended, 0 running" in text
    for state in ("COMPLETE", "PRUNED", "FAILED"):
        assert state in text


def test_time_left_follows_from_the_trials_that_ended() -> None:
    script = Script(planned=41)
    board = LiveStatus(script.spec())
    board.take(script.start())
    board.take(script.begin(0))
    assert board.time_left_s() is None
    record = script.finish(0).record
    board.take(
        TrialFinished(replace(record, finished_at_s=script.now_s + 30, started_at_s=script.now_s), script.tick())
    )
    assert board.time_left_s() == 40 * 30 / 2  # two slots


def test_epochs_are_counted_out_of_the_trial_s_own(tmp_path: Path) -> None:
    script = Script()
    board = LiveStatus(script.spec())
    board.take(script.start())
    begun = script.begin(0)
    config = {**begun.record.config, "max_epochs": 77}
    board.take(replace(begun, record=replace(begun.record, config=config)))
    assert "0/77" in shown(board)


def test_values_are_shown_as_they_are() -> None:
    script = Script()
    board = LiveStatus(script.spec())
    board.take(script.start())
    for trial, state in ((0, TrialState.RUNNING), (1, TrialState.COMPLETE)):
        begun = script.begin(trial)
        odd = replace(begun.record, params={"init": f"checkpoint:[bold]{state}/[/y]"}, state=state)
        board.take(replace(begun, record=odd))
        if state is TrialState.COMPLETE:
            board.take(TrialFinished(odd, script.tick()))
    assert "[bold]RUNNING/[/y]" in shown(board)
    assert "[bold]COMPLETE/[/y]" in shown(board)


def test_without_a_terminal_every_event_is_a_line(tmp_path: Path) -> None:
    screen = io.StringIO()
    script = Script()
    with open_view(script.spec(), StudyLayout(tmp_path), screen) as view:
        for event in script.whole():
            view.record(event)
        view.close()
    lines = screen.getvalue().splitlines()
    assert any("starts: 4 trials, 2 at once" in line for line in lines)
    assert any(line.startswith("trial 0 epoch 1/") for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_on_a_terminal_epochs_update_the_table_and_ends_stay_as_lines(tmp_path: Path) -> None:
    script = Script()
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    from rich.live import Live

    board = LiveStatus(script.spec())
    with Live(console=console, auto_refresh=False, get_renderable=board.table) as live:
        view = LiveView(board, StudyLayout(tmp_path), console, live)
        for event in script.whole():
            view.record(event)
        live.refresh()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "COMPLETE" in text
    assert "trial 0 epoch 1/" not in text


def test_tee_hands_everything_to_all_and_warnings_reach_the_screen() -> None:
    recorders = [MemoryRecorder(), MemoryRecorder()]
    tee = RecorderGroup(recorders)
    events = list(Script().whole())
    for event in events:
        tee.record(event)
    tee.close()
    assert all(recorder.events == events and recorder.closed for recorder in recorders)
    said: list[str] = []
    logger = logging.getLogger("test.warnings")
    logger.addHandler(WarningLines(said.append))
    logger.info("quiet")
    logger.warning("the server is %s", "away")
    assert said == ["the server is away"]


@pytest.mark.parametrize("seconds, text", [(math.inf, "-"), (None, "-"), (4.4, "4s"), (61, "1m01s"), (3725, "1h02m")])
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    from cli.output import duration

    assert duration(seconds) == text


def replicated(script: Script) -> StudyStarted:
    """Begin a grid of two points with three replicates each."""
    space = (Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),)
    spec = StudySpec(
        name="faces", space=space, design=DesignSpec(kind="grid"), replicates=ReplicatesSpec(seeds=(7, 8, 9))
    )
    return replace(script.start(), spec=spec, planned=6)


def ended(script: Script, trial: int, point: int, replicate: int, state: TrialState) -> TrialFinished:
    finished = script.finish(trial, state)
    return replace(finished, record=replace(finished.record, point=point, replicate=replicate))


def test_a_trial_of_several_replicates_is_told_by_point_and_seed() -> None:
    script = Script()
    board = LiveStatus(script.spec())
    board.take(replicated(script))
    begun = script.begin(3)
    line = board.take(replace(begun, record=replace(begun.record, point=1, replicate=2)))
    assert line is not None
    assert line.startswith("trial 3 (point 1, seed 9) runs: ")
    assert (board.take(script.report(3, 1)) or "").startswith("trial 3 (point 1, seed 9) epoch 1/")
    text = shown(board)
    assert "0 of 6 trials ended, 1 running" in text
    row = next(line for line in text.splitlines() if "RUNNING" in line)
    assert row.split()[:4] == ["3", "1", "9", "RUNNING"]


def test_the_trials_that_a_stopped_point_no_longer_has_are_taken_off() -> None:
    script = Script()
    board = LiveStatus(script.spec())
    board.take(replicated(script))
    board.take(ended(script, 0, 0, 0, TrialState.PRUNED))
    assert "1 of 4 trials ended" in board.headline()
    board.take(ended(script, 0, 0, 0, TrialState.PRUNED))
    assert "1 of 4 trials ended" in board.headline(), "told twice, as after a resume"
    board.take(ended(script, 1, 1, 0, TrialState.COMPLETE))
    late = script.begin(2)
    board.take(replace(late, record=replace(late.record, point=0, replicate=1)))
    assert "2 of 5 trials ended" in board.headline(), "it ran already when its point was stopped"


def test_what_a_board_keeps_does_not_grow_with_the_trials() -> None:
    script = Script(planned=500)
    board = LiveStatus(script.spec())
    board.take(script.start())
    for trial in range(500):
        finished = script.finish(trial)
        value = 0.9 if trial == 17 else 0.1
        record = replace(finished.record, value=value, metrics={"val_auc": value}, checkpoint="c")
        board.take(replace(finished, record=record))
    text = shown(board)
    assert "500 of 500 trials ended, 0 running; best val_auc 0.90000 (trial 17)" in text
    assert text.count("COMPLETE") == 8
    assert text.splitlines()[2].split()[0] == "499"


@pytest.mark.parametrize(
    "outcome, reason, words",
    [
        (StudyOutcome.FINISHED, None, "faces finished after 1s: 1 COMPLETE"),
        (StudyOutcome.FINISHED, StopReason.TIME_BUDGET, "faces finished after 1s (its time budget is used up): 1"),
        (StudyOutcome.FINISHED, StopReason.TARGET, "faces finished after 1s (a trial reached its target): 1"),
        (StudyOutcome.STOPPED, StopReason.USER, "faces stopped by the user after 1s: 1 COMPLETE"),
        (StudyOutcome.STOPPED, None, "faces stopped after 1s: 1 COMPLETE"),
        (StudyOutcome.INTERRUPTED, None, "faces interrupted after 1s: 1 COMPLETE"),
    ],
)
def test_the_end_says_why(outcome: StudyOutcome, reason: StopReason | None, words: str) -> None:
    script = Script()
    board = LiveStatus(script.spec())
    board.take(script.start())
    line = board.take(replace(script.end(outcome), reason=reason))
    assert line is not None
    assert line.startswith(words)

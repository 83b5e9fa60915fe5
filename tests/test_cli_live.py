"""The live view: what it shows of a scripted study, on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import MemoryRecorder, Script
from rich.console import Console

from cli.board import Board
from cli.live import View, open_view
from cli.recorders import Tee, WarningLines
from study.events import TrialFinished
from study.layout import StudyLayout


def shown(board: Board) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(board.table())
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_board_counts_trials_and_knows_the_best_of_running_ones_too() -> None:
    script = Script()
    board = Board(script.spec())
    events = list(script.whole())
    running = events[: events.index(next(one for one in events if isinstance(one, TrialFinished)))]
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
    board = Board(script.spec())
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
    board = Board(script.spec())
    board.take(script.start())
    begun = script.begin(0)
    config = {**begun.record.config, "max_epochs": 77}
    board.take(replace(begun, record=replace(begun.record, config=config)))
    assert "0/77" in shown(board)


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

    board = Board(script.spec())
    with Live(console=console, auto_refresh=False, get_renderable=board.table) as live:
        view = View(board, StudyLayout(tmp_path), console, live)
        for event in script.whole():
            view.record(event)
        live.refresh()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "COMPLETE" in text
    assert "trial 0 epoch 1/" not in text


def test_tee_hands_everything_to_all_and_warnings_reach_the_screen() -> None:
    recorders = [MemoryRecorder(), MemoryRecorder()]
    tee = Tee(recorders)
    events = list(Script().whole())
    for event in events:
        tee.record(event)
    tee.close()
    assert all(one.events == events and one.closed for one in recorders)
    said: list[str] = []
    logger = logging.getLogger("test.warnings")
    logger.addHandler(WarningLines(said.append))
    logger.info("quiet")
    logger.warning("the server is %s", "away")
    assert said == ["the server is away"]


@pytest.mark.parametrize("seconds, text", [(None, "-"), (4.4, "4s"), (61, "1m01s"), (3725, "1h02m")])
def test_durations_are_written_for_people(seconds: float | None, text: str) -> None:
    from cli.output import duration

    assert duration(seconds) == text

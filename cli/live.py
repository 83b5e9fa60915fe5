"""Show a running study: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cli.board import Board
from study.events import EpochReported, Event, Reports, TrialFinished, TrialStarted
from study.layout import StudyLayout
from study.records import TrialRecord
from study.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from study.engine.surroundings import Progress

REFRESHES_PER_S = 4
COUNT_EVERY_S = 5.0


class View:
    """A recorder that shows what it hears; lines go above the live table if there is one."""

    def __init__(self, board: Board, layout: StudyLayout, console: Console, live: Live | None) -> None:
        self._board = board
        self._layout = layout
        self._console = console
        self._live = live
        self._counted_at = time.monotonic()

    def say(self, line: str) -> None:
        """Show one line."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def progress(self) -> Progress:
        """Return the voice of the engine while it prepares."""
        from study.engine.surroundings import Progress

        self.say(f"{self._board.name}: preparing; Ray's and MLflow's own messages go to {self._layout.log}")
        return Progress(say=self.say, count=self._count, interrupting=self._interrupting)

    def record(self, event: Event) -> None:
        """Take one event."""
        line = self._board.take(event)
        if line is not None and (self._live is None or not isinstance(event, EpochReported | TrialStarted)):
            ended = self._live is None and isinstance(event, TrialFinished)
            self.say(f"{line}   [{self._board.headline()}]" if ended else line)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: Reports) -> None:
        """Count trials that had ended before."""
        for record in records:
            if record.state.is_finished:
                self._board.take(TrialFinished(record, at_s))

    def close(self) -> None:
        """Leave the screen as it is."""
        if self._live is not None:
            self._live.stop()

    def _count(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._counted_at < COUNT_EVERY_S:
            return
        self._counted_at = now
        self.say(f"{what} {done} of {total} images")

    def _interrupting(self) -> None:
        self.say("stopping: trials keep their last finished epoch (Ctrl-C again to quit at once)")


@contextmanager
def open_view(spec: StudySpec, layout: StudyLayout, screen: TextIO) -> Iterator[View]:
    """Open the view on a screen."""
    from rich.console import Console
    from rich.live import Live

    console, board = Console(file=screen), Board(spec)
    if not console.is_terminal:
        yield View(board, layout, Console(file=screen, width=200), None)
        return
    # Standard output and error are the log file now: redirecting them would bring their chatter back to the screen.
    with Live(
        console=console,
        get_renderable=board.table,
        refresh_per_second=REFRESHES_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield View(board, layout, console, live)

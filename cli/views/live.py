"""The live view of a running study: lines about its events, and on a terminal a table of its trials."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cli.views.live_status import LiveStatus
from study.config.study_config import StudySpec
from study.events import EpochEvents, EpochReported, Event, TrialFinished, TrialStarted
from study.paths import StudyLayout
from study.records import TrialRecord
from study.utils.streams import PlainText, styled
from study.utils.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from study.engine.run_context import RunCallbacks

REFRESHES_PER_S = 4
COUNT_EVERY_S = 5.0


class LiveView:
    """A recorder that prints events as lines; they go above the live table if there is one."""

    def __init__(self, status: LiveStatus, layout: StudyLayout, console: Console, live: Live | None) -> None:
        self._status = status
        self._layout = layout
        self._console = console
        self._live = live
        self._counted_at = time.monotonic()

    def say(self, line: str) -> None:
        """Show one line."""
        self._console.print(printable(line), highlight=False, markup=False, emoji=False, soft_wrap=True)

    def callbacks(self) -> RunCallbacks:
        """Return what the engine calls while it prepares and when it is interrupted."""
        from study.engine.run_context import RunCallbacks

        self.say(f"{self._status.name}: preparing; Ray's and MLflow's own messages go to {self._layout.log}")
        return RunCallbacks(on_message=self.say, on_images=self._count, on_interrupt=self._interrupting)

    def record(self, event: Event) -> None:
        """Print one event if it is worth a line."""
        line = self._status.take(event)
        if line is not None and (self._live is None or not isinstance(event, EpochReported | TrialStarted)):
            ended = self._live is None and isinstance(event, TrialFinished)
            self.say(f"{line}   [{self._status.headline()}]" if ended else line)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        """Count trials that had ended before."""
        for record in records:
            if record.state.is_finished:
                self._status.take(TrialFinished(record, at_s))

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
def open_view(spec: StudySpec, layout: StudyLayout, screen: TextIO | PlainText) -> Iterator[LiveView]:
    """Open the view on a screen."""
    from rich.console import Console
    from rich.live import Live

    console, status = Console(file=styled(screen)), LiveStatus(spec)
    if not console.is_terminal or console.is_dumb_terminal:
        yield LiveView(status, layout, Console(file=styled(screen), width=200), None)
        return
    # Standard output and error are the log file now: redirecting them would bring their lines back to the screen.
    with Live(
        console=console,
        get_renderable=status.table,
        refresh_per_second=REFRESHES_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield LiveView(status, layout, console, live)

"""A progress bar for commands that work through many files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from study.utils.streams import styled

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items, counted by a bar on standard error.

    There is none where standard error is no terminal, nor where standard output is one, which shows what is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=styled(sys.stderr))
    if not console.is_terminal or sys.stdout.isatty():
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)

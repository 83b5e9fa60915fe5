"""Keep faults and signals of the driver's side from whoever runs the trials, until it has stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Guard:
    """What stops a run: a fault of the driver's own side, or somebody who asked for it."""

    def __init__(self) -> None:
        self._fault: BaseException | None = None
        self.interrupted = False

    def interrupt(self) -> bool:
        """Stop at the next occasion; return whether that was asked before."""
        before, self.interrupted = self.interrupted, True
        return before

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Keep a fault of this side from whoever runs the trials, and stop the run; ``raise_fault`` has it."""
        try:
            yield
        except Exception as error:
            self._fault = self._fault or error
            self.interrupted = True

    def raise_fault(self) -> None:
        """Raise what ``guarding`` kept."""
        if self._fault is not None:
            raise self._fault

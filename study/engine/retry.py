"""Trials that are run again: after a lost worker, after running out of memory, or to be evaluated."""

from __future__ import annotations

from collections import Counter, deque


class RetryQueue:
    """Trials to hand out before any new one, first come, first served."""

    def __init__(self) -> None:
        self._trials: deque[int] = deque()
        self._losses: Counter[int] = Counter()

    def __bool__(self) -> bool:
        """Return whether a trial waits."""
        return bool(self._trials)

    def add(self, trial: int) -> None:
        """Run a trial again."""
        self._trials.append(trial)

    def add_lost(self, trial: int, max_retries: int) -> bool:
        """Run a trial again that never reached its worker; return False if that happened too often."""
        self._losses[trial] += 1
        if self._losses[trial] > max_retries:
            return False
        self.add(trial)
        return True

    def pop(self) -> int:
        """Take the trial that waits longest."""
        return self._trials.popleft()

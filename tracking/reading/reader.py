"""Open whatever can be read: a server over plain HTTP, a database through MLflow's client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tracking.reading.rest import RestReader
from tracking.server.door import Door, Experiment, Run, run_of


class Reader(Protocol):
    """What MLflow tells; every method raises TrackingError and nothing else for its faults."""

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, deleted ones refused."""

    def experiments(self) -> list[Experiment]:
        """Return every active experiment, the one changed last first."""

    def search(
        self, experiments: Sequence[str], where: str, order: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs page by page in the server's order, at most ``limit``."""

    def run(self, run_id: str) -> Run:
        """Return one run; LostError where there is none."""

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """Return every step and value of a metric, as logged."""


def open_reader(tracking_uri: str) -> Reader:
    """Return a reader for a URI; that of a database takes seconds to import.

    Raises:
        TrackingError: it cannot be opened.
    """
    return RestReader(tracking_uri) if RestReader.serves(tracking_uri) else _ClientReader(tracking_uri)


class _ClientReader(Door):
    def run(self, run_id: str) -> Run:
        with self.translated(f"cannot find run {run_id}"):
            return run_of(self.client.get_run(run_id))

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        with self.translated(f"cannot read {key} of run {run_id}"):
            return [(one.step, one.value) for one in self.client.get_metric_history(run_id, key)]

"""Links to a study's runs in MLflow's user interface."""

from __future__ import annotations

from study.paths import StudyLayout
from tracking.content.ui_views import run_path
from tracking.run_ids import Runs, load_runs, load_runs_at
from tracking.tracking_uri import is_server, server_address

DEFAULT_UI = "http://127.0.0.1:5000"
"""Where `study ui` serves MLflow by default."""


class RunLinks:
    """The URLs of a study's runs on one server, or on the one they were sent to last; reads run ids as they come.

    The links to runs in a database lead to ``DEFAULT_UI``, and work while `study ui` serves them there.
    """

    def __init__(self, study: StudyLayout, masked_uri: str | None = None) -> None:
        self._path = study.runs
        self._uri = masked_uri
        self._changed_ns = -1
        self._runs: Runs | None = None

    def __call__(self, trial: int | None) -> str | None:
        """Return the URL of a trial's run, or of the study's own for None; None while there is no such run."""
        runs = self._current()
        if runs is None or runs.experiment_id is None:
            return None
        run = runs.parent if trial is None else runs.trials.get(trial)
        return None if run is None else self.address + run_path(runs.experiment_id, run)

    @property
    def address(self) -> str:
        """The server's address, without credentials."""
        runs = self._current()
        return server_address(runs.tracking_uri) if runs is not None and is_server(runs.tracking_uri) else DEFAULT_UI

    @property
    def need_serving(self) -> bool:
        """Whether the runs are in a database, which a browser cannot open."""
        runs = self._current()
        return runs is not None and not is_server(runs.tracking_uri)

    def _current(self) -> Runs | None:
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except OSError:
            return None
        if changed_ns != self._changed_ns:
            self._runs = load_runs_at(self._path, self._uri) if self._uri else load_runs(self._path)
            self._changed_ns = changed_ns
        return self._runs

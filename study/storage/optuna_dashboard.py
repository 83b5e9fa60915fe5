"""Show a study in Optuna's dashboard while it grows: a copy in memory is served, so nothing can be written to it."""

from __future__ import annotations

import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial

from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import TrialRecord
from study.search.optuna_adapter import study_directions
from study.storage.study_storage import StudyStorage
from study.utils import network

Link = Callable[[int | None], str | None]
"""Gives the URL of a trial's MLflow run, of the study's own for None; None where it has none yet."""
RUN = "mlflow_run"
READ_ONLY = "a study is only shown here: nothing can be changed"
_MAX_NOTES = 1000  # the dashboard looks through all notes for each trial
STUDY_ID = 0  # of the first study in a new storage
_READING = ("GET", "HEAD")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def copy_study(layout: StudyLayout, link: Link) -> InMemoryStorage:
    """Return a study as it stands, in memory.

    Attributes are what a person wants to see: the run in MLflow, why the trial ended, its best epoch and metrics.

    Raises:
        StudyStorageError: there is no such study, or its journal is damaged.
    """
    from optuna_dashboard import save_note

    source, storage = StudyStorage.open(layout), InMemoryStorage()
    spec = source.spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(storage=storage, study_name=source.name, directions=study_directions(spec))
        study.set_metric_names([objective.metric for objective in spec.objective_list])
    way = spec.search.sampler if spec.design.kind == "search" else spec.design.kind
    attrs = {RUN: link(None), "study_id": source.study_id, "way": way, "pruner": spec.pruner, **source.environment}
    for key, value in attrs.items():
        if value is not None:
            study.set_user_attr(key, value)
    save_note(study, _linked(link(None), "The study in MLflow"))
    trials = source.trials()
    for trial in trials:
        shown = _shown_trial(trial, source.record(trial.number), link(trial.number))
        trial_id = storage.create_new_trial(STUDY_ID, template_trial=shown)
        if len(trials) <= _MAX_NOTES:
            save_note(Trial(study, trial_id), _linked(link(trial.number), "This trial in MLflow"))
    return storage


def _shown_trial(trial: FrozenTrial, record: TrialRecord, link: str | None) -> FrozenTrial:
    return FrozenTrial(
        number=trial.number, trial_id=trial.number, state=trial.state, value=None, values=trial.values,
        datetime_start=trial.datetime_start, datetime_complete=trial.datetime_complete, params=trial.params,
        distributions=trial.distributions, user_attrs=_trial_attrs(record, link), system_attrs={},
        intermediate_values=trial.intermediate_values,
    )  # fmt: skip


def _trial_attrs(record: TrialRecord, link: str | None) -> dict[str, Any]:
    seen = {
        RUN: link,
        "stop_reason": record.stop_reason.value if record.stop_reason else None,
        "best.epoch": record.epoch,
        "epochs_run": record.epochs_run,
        "point": record.point,
        "replicate": record.replicate,
        "seed": record.seed,
        "error": record.error.strip().rpartition("\n")[2] if record.error else None,
        **{f"best.{name}": value for name, value in record.metrics.items()},
    }
    return {key: value for key, value in seen.items() if value is not None}


def _linked(url: str | None, text: str) -> str:
    return f"[{text}]({url})\n\n{READ_ONLY.capitalize()}." if url else f"{READ_ONLY.capitalize()}."


class LiveApplication:
    """The dashboard of a study, copied anew when a request finds that its journal or its links changed."""

    def __init__(self, layout: StudyLayout, link: Link) -> None:
        """Copy the study once.

        Raises:
            StudyStorageError: there is no such study, or its journal is damaged.
        """
        self._layout = layout
        self._link = link
        self._lock = threading.Lock()
        self._stamp: object = None
        self._count = 0
        self._refresh()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        try:
            with self._lock:
                self._refresh()
        except StudyStorageError as error:
            return _refuse(start_response, str(error), "500 Internal Server Error")
        return self._app(environ, start_response)

    def _refresh(self) -> None:
        from optuna_dashboard import wsgi

        status = self._layout.journal.stat()
        file = (status.st_size, status.st_mtime_ns)
        if self._stamp == (file, self._links()):
            return
        storage = copy_study(self._layout, self._link)
        self._count = storage.get_n_trials(STUDY_ID)
        self._stamp = (file, self._links())
        self._app: Application = wsgi(storage)

    def _links(self) -> list[str | None]:
        return [self._link(number) for number in (None, *range(self._count))]


class Dashboard:
    """A dashboard that listens already; ``url`` opens it on the study."""

    def __init__(self, layout: StudyLayout, link: Link, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen on a port.

        Args:
            layout: The study that is shown.
            link: Asked at every request.
            host: Any other than 127.0.0.1 lets other machines in, by this machine's names and addresses only.
            port: Where to listen; 0 takes a free one.

        Raises:
            StudyStorageError: there is no such study, or its journal is damaged.
            StudyError: the port is taken.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # each copy would be announced as a new study
        app = LiveApplication(layout, link)
        port = network.free_port(host, port)
        kind = _ServerV6 if ":" in host else _Server
        self._server = make_server(
            host, port, guarded(app, network.allowed_hosts(host)), server_class=kind, handler_class=_Quiet
        )
        self.url = f"{network.public_url(host, port)}/dashboard/studies/{STUDY_ID}"

    def serve(self) -> None:
        """Answer until somebody interrupts or stops it from another thread."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's warnings about a plot are not for the person who serves it
            self._server.serve_forever()

    def stop(self) -> None:
        """End ``serve`` in another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Free the port."""
        self._server.server_close()


def guarded(app: Application, hosts: Iterable[str]) -> Application:
    """Return an application that only reads, and answers only to this machine's names.

    The dashboard itself would let any site that a browser visits end trials and delete the study.
    """
    known = {host.strip("[]").lower() for host in hosts}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = _host(environ.get("HTTP_HOST", ""))
        if asked not in known:
            return _refuse(start_response, f"this server is not called {asked!r}, but one of {sorted(known)}")
        if environ["REQUEST_METHOD"] not in _READING:
            return _refuse(start_response, READ_ONLY)
        return app(environ, start_response)

    return application


def _host(header: str) -> str | None:
    """Return the host of a Host header, without its port; None where there is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _refuse(start_response: Callable[..., Any], reason: str, status: str = "403 Forbidden") -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

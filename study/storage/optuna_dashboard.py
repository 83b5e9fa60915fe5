"""Let a storage be looked at through Optuna's own interface while it grows; nothing is written through it."""

from __future__ import annotations

import copy
import json
import socket
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NoReturn
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import TrialRecord
from study.storage.study_attributes import SPEC
from study.storage.study_storage import StudyStorage
from study.trials.serialization import to_record
from study.utils import network as listening

Link = Callable[[int | None], str | None]
"""Gives the URL of a trial's MLflow run, of the study's own for None; None where it has none yet."""
RUN = "mlflow_run"
READ_ONLY = "a study is only shown here: nothing can be changed"
_METRIC_NAMES = "study:metric_names"  # where Optuna's set_metric_names() puts them
_MAX_NOTES = 1000  # the dashboard looks through all notes for each trial


class ReadOnlyStorage(JournalStorage):
    """A study's journal as it stands now; every look reads what was appended since.

    Attributes are what a person wants to see: the run in MLflow, why the trial ended, its best epoch and metrics. The
    stored ones, each epoch's line among them, stay in the file.
    """

    def __init__(self, layout: StudyLayout, link: Link) -> None:
        """Open a study; ``link`` is asked at every look.

        Raises:
            StudyStorageError: there is none, or its file is damaged.
        """
        StudyStorage.open(layout)
        self._journal = layout.journal
        self._link = link
        self._size = 0
        self._spec: tuple[str, StudySpec] | None = None
        self._shown: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}
        super().__init__(_ReadOnly(layout.journal))

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the one study, with links."""
        found = super().get_all_studies()
        for study in found:
            study.user_attrs = self._study_attrs(study.user_attrs)
            study.system_attrs = self._with_notes(study.system_attrs)
        return found

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what a person wants to know of the study."""
        return self._study_attrs(super().get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return Optuna's own attributes, the objectives' names and the links as notes."""
        return self._with_notes(super().get_study_system_attrs(study_id))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return one trial with its link."""
        return self._show(super().get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return all trials with their links; they may be shared between callers."""
        return [self._show(one) for one in super().get_all_trials(study_id, deepcopy=False, states=states)]

    def _sync_with_backend(self) -> None:
        size = self._journal.stat().st_size
        if size < self._size:  # a driver that came back cut a torn line
            self._restart()
        self._size = size
        try:
            super()._sync_with_backend()
        except (ValueError, KeyError, AssertionError):
            self._restart()
            super()._sync_with_backend()

    def _restart(self) -> None:
        self._backend = _ReadOnly(self._journal)
        self._replay_result = type(self._replay_result)(self._worker_id_prefix)

    def _known_spec(self, stored: Mapping[str, Any]) -> StudySpec:
        text = str(stored[SPEC])
        if self._spec is None or self._spec[0] != text:
            self._spec = (text, StudySpec.model_validate_json(text))
        return self._spec[1]

    def _study_attrs(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        spec = self._known_spec(stored)
        way = spec.search.sampler if spec.design.kind == "search" else spec.design.kind
        seen = {RUN: self._link(None), "study_id": stored["study_id"], "way": way, "pruner": spec.pruner}
        seen |= stored.get("environment", {})
        return {key: value for key, value in seen.items() if value is not None}

    def _with_notes(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        user_attrs = self._replay_result.get_all_studies()[0].user_attrs
        names = [one.metric for one in self._known_spec(user_attrs).objective_list]
        found = {**stored, _METRIC_NAMES: names, **_note("", _linked(self._link(None), "The study in MLflow"))}
        numbers = range(len(self._replay_result.get_all_trials(0, None)))
        for number in numbers if len(numbers) <= _MAX_NOTES else ():
            found |= _note(f"{number}:", _linked(self._link(number), "This trial in MLflow"))
        return found

    def _show(self, trial: FrozenTrial) -> FrozenTrial:
        known, link = self._shown.get(trial.number), self._link(trial.number)
        if known is not None and known[0] is trial and known[1].user_attrs.get(RUN) == link:
            return known[1]
        study = self._replay_result.get_all_studies()[0]
        record = to_record(study.study_name, trial, self._known_spec(study.user_attrs).objective)
        shown = copy.copy(trial)
        shown.user_attrs = _trial_attrs(record, link)
        self._shown[trial.number] = (trial, shown)
        return shown


class _ReadOnly(JournalFileBackend):
    """A journal file that is only read."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))

    def append_logs(self, logs: list[dict[str, Any]]) -> NoReturn:
        """Refuse.

        Raises:
            StudyStorageError: always.
        """
        raise StudyStorageError(READ_ONLY)


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


def _note(owner: str, body: str) -> dict[str, Any]:
    """Return a note as the dashboard keeps it: an attribute with a version and one with the Markdown."""
    return {f"dashboard:{owner}note_ver": 1, f"dashboard:{owner}note_str:0": body}


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_READING = ("GET", "HEAD")


class Dashboard:
    """A dashboard that listens already; ``url`` opens it on the study."""

    def __init__(self, storage: ReadOnlyStorage, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen on a port.

        Args:
            storage: What is shown.
            host: Any other than 127.0.0.1 lets other machines in, by this machine's names and addresses only.
            port: Where to listen; 0 takes a free one.

        Raises:
            StudyError: the port is taken.
        """
        from optuna_dashboard._app import create_app

        port = listening.free_port(host, port)
        app = guarded(create_app(storage), listening.allowed_hosts(host))
        kind = _ServerV6 if ":" in host else _Server
        self._server = make_server(host, port, app, server_class=kind, handler_class=_Quiet)
        (study,) = storage.get_all_studies()
        self.url = f"{listening.public_url(host, port)}/dashboard/studies/{study._study_id}"

    def serve(self) -> None:
        """Answer until somebody interrupts or stops it from another thread."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna thinks of a plot is no news for who serves it
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


def _refuse(start_response: Callable[..., Any], reason: str) -> Iterable[bytes]:
    start_response("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of a request."""

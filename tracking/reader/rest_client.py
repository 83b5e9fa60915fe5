"""Read experiments and runs: over plain HTTP from a server, which saves MLflow's import, else through its client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import requests

from tracking.client.client import Experiment, Run, TrackingClient, run_of
from tracking.client.errors import LostError, refuse_deleted, translate
from tracking.client.http import API, TIMEOUT_S, innermost_reason, open_session, proxy_note
from tracking.tracking_uri import is_server, mask_text, mask_uri, server_address

_PAGE = 1000
_NOT_MLFLOW = "the answer is not one of an MLflow server"
_MLFLOW_ONLY_AUTH = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")
"""Variables for ways to log in that only MLflow's own client knows."""

Entity = TypeVar("Entity")


class Reader(Protocol):
    """Reads experiments and runs; every method raises TrackingError and nothing else for MLflow's faults."""

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
    if RestReader.supports(tracking_uri):
        return RestReader(tracking_uri)
    return _ClientReader(tracking_uri, read_only=True)


class _ClientReader(TrackingClient):
    def run(self, run_id: str) -> Run:
        with self.translated(f"cannot find run {run_id}"):
            return run_of(self.api.get_run(run_id))

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        with self.translated(f"cannot read {key} of run {run_id}"):
            return [(metric.step, metric.value) for metric in self.api.get_metric_history(run_id, key)]


class ServerError(Exception):
    """An error that a server answered with, and MLflow's code for it."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class RestReader:
    """Reads an MLflow server over plain HTTP, with the credentials that MLflow's client would use."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._url = server_address(tracking_uri) + API
        self._session: requests.Session | None = None

    @staticmethod
    def supports(tracking_uri: str) -> bool:
        """Whether a URI is that of a server that can be read this way."""
        return is_server(tracking_uri) and not any(map(os.environ.get, _MLFLOW_ONLY_AUTH))

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, deleted ones refused."""
        purpose = f"cannot find experiment {name!r}"
        try:
            answer = self._request("GET", "experiments/get-by-name", purpose, params={"experiment_name": name})
        except LostError:
            return None
        with self._parsing(purpose):
            entry = answer["experiment"]
            experiment, stage = _experiment(entry), entry.get("lifecycle_stage", "active")
        refuse_deleted(name, experiment.id, stage, self._uri)
        return experiment

    def experiments(self) -> list[Experiment]:
        """Return every active experiment, the one changed last first."""
        body = {"max_results": _PAGE, "order_by": ["last_update_time DESC"]}
        pages = self._pages("experiments/search", "cannot list experiments", "experiments", _experiment, body)
        return [experiment for page in pages for experiment in page]

    def search(
        self, experiments: Sequence[str], where: str, order: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs page by page in the server's order, at most ``limit``."""
        size = _PAGE if limit is None else min(limit, _PAGE)
        body = {"experiment_ids": list(experiments), "filter": where, "order_by": list(order), "max_results": size}
        left = limit
        for page in self._pages("runs/search", "cannot search runs", "runs", _run, body):
            yield from page if left is None else page[:left]
            left = None if left is None else left - len(page)
            if left is not None and left <= 0:
                return

    def run(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            LostError: there is none.
        """
        purpose = f"cannot find run {run_id}"
        answer = self._request("GET", "runs/get", purpose, params={"run_id": run_id})
        with self._parsing(purpose):
            return _run(answer["run"])

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """Return every step and value of a metric, as logged."""
        purpose = f"cannot read {key} of run {run_id}"
        query = {"run_id": run_id, "metric_key": key}
        answer = self._request("GET", "metrics/get-history", purpose, params=query)
        with self._parsing(purpose):
            return [(int(point.get("step", 0)), float(point["value"])) for point in _entries(answer, "metrics")]

    def _pages(
        self, path: str, purpose: str, key: str, parse: Callable[[Mapping[str, Any]], Entity],
        body: Mapping[str, object],
    ) -> Iterator[list[Entity]]:  # fmt: skip
        token = None
        while True:
            answer = self._request("POST", path, purpose, json={**body, **({"page_token": token} if token else {})})
            with self._parsing(purpose):
                page = [parse(entry) for entry in _entries(answer, key)]
            yield page
            if not (token := answer.get("next_page_token")):
                return

    def _request(self, method: str, path: str, purpose: str, **content: Any) -> dict[str, Any]:
        try:
            response = self._opened().request(method, self._url + path, **content)
            if not response.ok:
                raise _server_error(response)
            answer = response.json()
            if not isinstance(answer, dict):
                raise ValueError(_NOT_MLFLOW)
            return answer
        except (ServerError, requests.RequestException, OSError, ValueError) as exc:
            raise self._translated(exc, purpose) from exc

    def _opened(self) -> requests.Session:
        if self._session is None:
            self._session = open_session(self._uri, _timeout_s())
            if workspace := os.environ.get("MLFLOW_WORKSPACE", "").strip():
                self._session.headers["X-MLFLOW-WORKSPACE"] = workspace
        return self._session

    @contextmanager
    def _parsing(self, purpose: str) -> Iterator[None]:
        """Translate the errors of an answer that lacks what an MLflow server's has."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise self._translated(ValueError(_NOT_MLFLOW), purpose) from exc

    def _translated(self, exc: Exception, purpose: str) -> Exception:
        reason = mask_text(str(exc) if isinstance(exc, ServerError) else innermost_reason(exc), self._uri)
        note = "" if isinstance(exc, ServerError) and exc.error_code else proxy_note(self._uri)
        return translate(exc, f"MLflow at {mask_uri(self._uri)} {purpose}: {reason}{note}")


def _timeout_s() -> float:
    with suppress(ValueError):
        return float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", ""))
    return TIMEOUT_S


def _server_error(response: requests.Response) -> ServerError:
    """Return the error in an answer; MLflow gives a code and a message as JSON."""
    code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(response.status_code, "")
    with suppress(ValueError, AttributeError):
        body = response.json()
        return ServerError(
            code or str(body.get("error_code", "")), f"HTTP {response.status_code}: {body.get('message')}"
        )
    return ServerError(code, f"HTTP {response.status_code} {response.reason}")


def _entries(answer: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list of an answer; MLflow leaves an empty one out, with nothing beside it but the next page's token."""
    if key not in answer and set(answer) - {"next_page_token"}:
        raise KeyError(key)
    entries: list[Any] = answer.get(key, [])
    return entries


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    return Experiment(entry["experiment_id"], entry["name"], _pairs(entry.get("tags", [])))


def _run(entry: Mapping[str, Any]) -> Run:
    info, data = entry["info"], entry.get("data", {})
    end = info.get("end_time")
    return Run(
        id=info["run_id"],
        name=info.get("run_name", ""),
        experiment_id=info["experiment_id"],
        status=info["status"],
        artifact_uri=info.get("artifact_uri", ""),
        tags=_pairs(data.get("tags", [])),
        params=_pairs(data.get("params", [])),
        metrics={metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])},
        start_ms=int(info["start_time"]),
        end_ms=None if end is None else int(end),
    )


def _pairs(entries: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in entries}

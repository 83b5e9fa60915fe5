"""Read an MLflow server over HTTP without MLflow's client, whose import takes longer than the answers."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from tracking.client.client import Experiment, Run, TrackingClient, run_of
from tracking.client.errors import LostError, refuse_deleted, translate
from tracking.client.preflight import credentials, trust
from tracking.tracking_uri import mask_text, mask_uri

_API = "/api/2.0/mlflow/"
_PAGE = 1000
_TIMEOUT_S = 30.0
_FOREIGN = "the answer is not one of an MLflow server"
_LEFT_TO_MLFLOW = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")
"""Variables for ways to log in that only MLflow's own client knows."""


Made = TypeVar("Made")


class RefusalError(Exception):
    """What a server said instead of an answer."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.error_code = code


class RestReader:
    """What a server tells of experiments and runs; every method raises TrackingError where it does not.

    It logs in as MLflow's client would: with what is in the URI, in MLflow's variables or its file.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        parts = urlsplit(tracking_uri)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        self._address = urlunsplit(bare).rstrip("/")
        self._opener: urllib.request.OpenerDirector | None = None

    @staticmethod
    def serves(tracking_uri: str) -> bool:
        """Whether a URI is that of a server that can be read this way."""
        return tracking_uri.startswith(("http://", "https://")) and not any(map(os.environ.get, _LEFT_TO_MLFLOW))

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, deleted ones refused."""
        fault = f"cannot find experiment {name!r}"
        try:
            found = self._ask("experiments/get-by-name", fault, {"experiment_name": name})
        except LostError:
            return None
        with self._understood(fault):
            one = found["experiment"]
            experiment, stage = _experiment(one), one.get("lifecycle_stage", "active")
        refuse_deleted(name, experiment.id, stage)
        return experiment

    def experiments(self) -> list[Experiment]:
        """Return every active experiment, the one changed last first."""
        body = {"max_results": _PAGE, "order_by": ["last_update_time DESC"]}
        fault = "cannot list experiments"
        pages = self._pages("experiments/search", fault, "experiments", _experiment, body)
        return [one for page in pages for one in page]

    def search(
        self, experiments: Sequence[str], where: str, order: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs page by page in the server's order, at most ``limit``."""
        body = {"experiment_ids": list(experiments), "filter": where, "order_by": list(order)}
        left = limit
        size = _PAGE if limit is None else min(limit, _PAGE)
        for page in self._pages("runs/search", "cannot search runs", "runs", _run, {**body, "max_results": size}):
            shown = page if left is None else page[:left]
            yield from shown
            left = None if left is None else left - len(shown)
            if left == 0:
                return

    def run(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            LostError: there is none.
        """
        fault = f"cannot find run {run_id}"
        found = self._ask("runs/get", fault, {"run_id": run_id})
        with self._understood(fault):
            return _run(found["run"])

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """Return every step and value of a metric, as logged."""
        fault = f"cannot read {key} of run {run_id}"
        found = self._ask("metrics/get-history", fault, {"run_id": run_id, "metric_key": key})
        with self._understood(fault):
            return [(int(one.get("step", 0)), float(one["value"])) for one in _listed(found, "metrics")]

    def _pages(
        self, path: str, fault: str, what: str, made: Callable[[Mapping[str, Any]], Made], body: Mapping[str, object]
    ) -> Iterator[list[Made]]:
        token = None
        while True:
            found = self._ask(path, fault, body={**body, **({"page_token": token} if token else {})})
            with self._understood(fault):
                page = [made(one) for one in _listed(found, what)]
            yield page
            if not (token := found.get("next_page_token")):
                return

    def _ask(
        self, path: str, fault: str, query: Mapping[str, str] | None = None, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        address = f"{self._address}{_API}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        for name, value in self._headers().items():
            request.add_unredirected_header(name, value)
        try:
            if self._opener is None:
                self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust()))
            with self._opener.open(request, timeout=_timeout_s()) as answer:
                found = json.load(answer)
            if not isinstance(found, dict):
                raise ValueError(_FOREIGN)
            return found
        except urllib.error.HTTPError as exc:
            raise self._translated(_refusal(exc), fault) from exc
        except (OSError, HTTPException, ValueError) as exc:
            raise self._translated(exc, fault) from exc

    def _headers(self) -> dict[str, str]:
        found = {}
        if said := credentials(self._uri):
            found["Authorization"] = said
        if workspace := os.environ.get("MLFLOW_WORKSPACE", "").strip():
            found["X-MLFLOW-WORKSPACE"] = workspace
        return found

    @contextmanager
    def _understood(self, fault: str) -> Iterator[None]:
        """Let out as TrackingError that an answer has not what an MLflow server's has."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise self._translated(ValueError(_FOREIGN), fault) from exc

    def _translated(self, exc: Exception, fault: str) -> Exception:
        words = mask_text(str(exc) or type(exc).__name__, self._uri)
        return translate(exc, f"MLflow at {mask_uri(self._uri)} {fault}: {words}")


def _timeout_s() -> float:
    with suppress(ValueError):
        return float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", ""))
    return _TIMEOUT_S


def _refusal(exc: urllib.error.HTTPError) -> RefusalError:
    """Return what the server said; MLflow gives a code and a message as JSON."""
    known = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(exc.code, "")
    with suppress(OSError, HTTPException, ValueError, AttributeError):
        told = json.loads(exc.read())
        return RefusalError(known or str(told.get("error_code", "")), f"HTTP {exc.code}: {told.get('message')}")
    return RefusalError(known, f"HTTP {exc.code} {exc.reason}")


def _listed(found: Mapping[str, Any], what: str) -> list[Any]:
    """Return a list of an answer; MLflow leaves an empty one out, and then says nothing but where to go on."""
    if what not in found and set(found) - {"next_page_token"}:
        raise KeyError(what)
    listed: list[Any] = found.get(what, [])
    return listed


def _experiment(found: Mapping[str, Any]) -> Experiment:
    return Experiment(found["experiment_id"], found["name"], _pairs(found.get("tags", [])))


def _run(found: Mapping[str, Any]) -> Run:
    info, data = found["info"], found.get("data", {})
    end = info.get("end_time")
    return Run(
        id=info["run_id"],
        name=info.get("run_name", ""),
        experiment_id=info["experiment_id"],
        status=info["status"],
        artifact_uri=info.get("artifact_uri", ""),
        tags=_pairs(data.get("tags", [])),
        params=_pairs(data.get("params", [])),
        metrics={one["key"]: float(one["value"]) for one in data.get("metrics", [])},
        start_ms=int(info["start_time"]),
        end_ms=None if end is None else int(end),
    )


def _pairs(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {one["key"]: one.get("value", "") for one in found}


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


class _ClientReader(TrackingClient):
    def run(self, run_id: str) -> Run:
        with self.translated(f"cannot find run {run_id}"):
            return run_of(self.api.get_run(run_id))

    def history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        with self.translated(f"cannot read {key} of run {run_id}"):
            return [(one.step, one.value) for one in self.api.get_metric_history(run_id, key)]

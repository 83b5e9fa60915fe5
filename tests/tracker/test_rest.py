"""Reading a server without MLflow's client: how it logs in, pages, and says what is wrong."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from commands import ROOT
from recorders import Script, play
from tracking_backends import Backend

from study.errors import TrackingError
from study.records import TrialState
from tracking.client.errors import DeniedError
from tracking.reader import queries as query
from tracking.reader.rest_client import RestReader, open_reader
from tracking.reader.study import ServerFilter


class Fake:
    """A server that remembers what it was asked and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[str, Any], tuple[int, bytes]] = lambda path, body: (200, b"{}")
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                told = json.loads(body) if body else None
                fake.asked.append((self.path, dict(self.headers), told))
                status, answer = fake.answer(self.path, told)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    yield server
    server.close()


def run(number: int) -> dict[str, Any]:
    info = {"run_id": f"{number:032x}", "run_name": "x", "experiment_id": "7", "status": "FINISHED", "start_time": 1}
    return {"info": info, "data": {"metrics": [{"key": "m", "value": "NaN", "timestamp": 1, "step": 0}]}}


def pages(count: int, size: int) -> Callable[[str, Any], tuple[int, bytes]]:
    """Answer a search of so many runs in pages of that size."""

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        at = int(body.get("page_token", 0))
        end = min(at + min(size, body["max_results"]), count)
        told: dict[str, Any] = {"runs": [run(number) for number in range(at, end)]}
        return 200, json.dumps({**told, **({"next_page_token": str(end)} if end < count else {})}).encode()

    return answer


def test_pages_are_taken_as_they_are_needed(fake: Fake) -> None:
    fake.answer = pages(25, 10)
    reader = RestReader(f"http://127.0.0.1:{fake.port}/")
    assert len(list(reader.search(["7"], "x = 1", ["y DESC"]))) == 25
    assert len(fake.asked) == 3
    path, _, body = fake.asked[0]
    assert path == "/api/2.0/mlflow/runs/search"
    assert body == {"experiment_ids": ["7"], "filter": "x = 1", "order_by": ["y DESC"], "max_results": 1000}
    fake.asked.clear()
    runs = list(reader.search(["7"], "", limit=12))
    assert [row.id for row in runs] == [f"{number:032x}" for number in range(12)]
    assert runs[0].metrics["m"] != runs[0].metrics["m"]  # NaN
    assert (len(fake.asked), fake.asked[0][2]["max_results"]) == (2, 12)
    fake.asked.clear()
    assert next(reader.search(["7"], "")).end_ms is None
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("user", "variables", "said"),
    [
        ("", {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3"}, "Basic ann:s3"),
        ("", {"MLFLOW_TRACKING_TOKEN": "t0k"}, "Bearer t0k"),
        ("bob:p%40ss@", {}, "Basic bob:p@ss"),
        ("", {}, None),
    ],
)
def test_it_logs_in_as_mlflows_client_would(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, user: str, variables: dict[str, str], said: str | None
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fake.answer = pages(0, 1)
    list(RestReader(f"http://{user}127.0.0.1:{fake.port}").search(["7"], ""))
    given = fake.asked[0][1].get("Authorization")
    if given is not None and given.startswith("Basic "):
        given = f"Basic {base64.b64decode(given[6:]).decode()}"
    assert given == said


@pytest.mark.parametrize(
    ("status", "answer", "kind", "words"),
    [
        (401, b"who are you", DeniedError, "HTTP 401"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}', DeniedError, "not you"),
        (400, b'{"error_code": "BAD_REQUEST", "message": "no such column"}', TrackingError, "no such column"),
        (500, b"<html>oops</html>", TrackingError, "HTTP 500"),
        (200, b"<html>a wiki</html>", TrackingError, "cannot search runs"),
        (200, b"[]", TrackingError, "not one of an MLflow server"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(
    fake: Fake, status: int, answer: bytes, kind: type[Exception], words: str
) -> None:
    fake.answer = lambda path, body: (status, answer)
    with pytest.raises(kind, match=words) as told:
        list(RestReader(f"http://ann:s3cret@127.0.0.1:{fake.port}").search(["7"], ""))
    assert "ann:***@" in str(told.value)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    "answer", [{"status": "ok"}, {"experiments": [{}], "runs": [{}]}, {"experiments": [1], "runs": None, "run": []}]
)
def test_answers_of_another_server_are_told_from_nothing_there(fake: Fake, answer: dict[str, Any]) -> None:
    fake.answer = lambda path, body: (200, json.dumps(answer).encode())
    uri = f"http://127.0.0.1:{fake.port}"
    calls: list[Callable[[], object]] = [
        lambda: query.studies(uri), lambda: query.open_study(uri), lambda: query.open_study(uri, "faces"),
        lambda: query.find_run(uri, "a" * 12), lambda: query.trial(uri, "a" * 32),
        lambda: list(RestReader(uri).search(["7"], "")),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TrackingError, match="not one of an MLflow server"):
            call()
    if "status" in answer:
        with pytest.raises(TrackingError, match="cannot read m of run x: the answer is not one of an MLflow server"):
            RestReader(uri).history("x", "m")
    fake.answer = lambda path, body: (200, b"{}")
    assert query.studies(uri) == []


def test_logins_that_only_mlflow_knows_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RestReader.supports("http://host")
    assert not RestReader.supports("sqlite:///x.db")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    assert not RestReader.supports("http://host")


def test_both_readers_tell_the_same(played: Backend) -> None:
    uri = played.client()._uri
    reader, runs = open_reader(uri), played.runs()
    assert isinstance(reader, RestReader) is (played.kind == "http")
    child = runs["trial 0000"]
    assert reader.run(child.id) == child
    assert reader.history(child.id, "val_auc") == played.history(child, "val_auc")
    assert reader.find_experiment("nope") is None
    with pytest.raises(TrackingError):
        reader.run("0" * 32)


def test_a_trial_is_found_by_its_number_and_by_the_beginning_of_its_run(played: Backend) -> None:
    uri, run_id = played.client()._uri, played.runs()["trial 0003"].id
    assert query.find_trial(uri, "played", 3) == run_id
    assert query.find_run(uri, run_id[:12]) == run_id
    record, run, parent = query.trial(uri, run_id, None)
    assert (record.trial, run.id, parent.id) == (3, run_id, played.runs()["played"].id)
    assert [dict(epoch.values) for epoch in record.history] == [
        {"train_loss": 1.0, "val_auc": pytest.approx(0.63)}, {"train_loss": 0.5, "val_auc": pytest.approx(0.73)},
    ]  # fmt: skip
    for call in (lambda: query.find_trial(uri, "played", 9), lambda: query.find_run(uri, "f" * 12),
                 lambda: query.trial(uri, parent.id)):  # fmt: skip
        with pytest.raises(TrackingError):
            call()


def test_a_study_tells_what_a_ranking_takes(played: Backend) -> None:
    study = query.open_study(played.client()._uri, "played")
    assert [objective.metric for objective in study.objective_list] == ["val_auc"]
    assert (study.seeds, study.design, study.fingerprint) == ((0,), "search", "f" * 64)
    some = study.trials(
        wanted=[ServerFilter("param", "optimizer", "=", "sgd"), ServerFilter("metric", "val_auc", ">=", 1e-5)]
    )
    assert [record.trial for record in some] == [0]  # trial 2 failed
    fitting = study.best("val_auc", "max", 2, lambda record: record.state is TrialState.COMPLETE)
    assert {0, 3} <= {record.trial for record in fitting}
    assert query.open_study(played.client()._uri).name == "played"


def test_names_and_bounds_that_filters_read_otherwise(remote: Backend) -> None:
    script = Script()
    values = {"val_auc": 1e-7, "shifted.dark room.auc": 0.5}
    first = script.start()
    events = [first, script.begin(0), script.report(0, 1, values), script.finish(0)]
    play(remote.open(), events)
    study = query.open_study(str(remote.uri), "faces")
    for value in (1e-7, -1e-7, -1e300, float("-inf")):
        assert len(list(study.trials(wanted=[ServerFilter("metric", "val_auc", ">=", value)]))) == 1
    assert list(study.trials(wanted=[ServerFilter("metric", "val_auc", ">=", float("inf"))])) == []


def test_reading_a_server_loads_no_mlflow(remote: Backend) -> None:
    script = Script()
    play(remote.open(), script.whole())
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        "for words in (['list'], ['show'], ['compare'], ['compare', '--where', \"optimizer = 'adam'\"],\n"
        "              ['show', 'faces/3'], ['diff', 'faces/0', 'faces/3']):\n"
        f"    done = CliRunner().invoke(app, [*words, '--tracking-uri', {remote.uri!r}])\n"
        "    assert done.exit_code == 0, (words, done.output, done.exception)\n"
        "print([name for name in ('mlflow', 'optuna', 'ray', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr

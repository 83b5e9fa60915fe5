"""What Optuna's dashboard shows of a study, while it grows, and what it can do to it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
import pytest
from engine_fakes import Listener, drive, make_spec, make_storage, metrics, reopened, story
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import wsgi

from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.storage.optuna_dashboard import LiveApplication, copy_study, guarded
from study.storage.study_storage import StudyStorage

optuna.logging.set_verbosity(optuna.logging.WARNING)
HOSTS = ("localhost", "127.0.0.1", "[::1]")


def link(trial: int | None) -> str | None:
    return None if trial == 3 else f"http://mlflow/{trial}"


@pytest.fixture
def finished(tmp_path: Path) -> StudyLayout:
    """A study that ended."""
    _, layout = make_storage(tmp_path / "study", make_spec(6, seed=1))
    drive(layout, Listener())
    return layout


def ask(app: Any, method: str, path: str, body: object = None, host: str = "127.0.0.1:8080") -> tuple[str, Any]:
    """Send one request to a WSGI application."""
    raw, told = json.dumps(body).encode(), []
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "HTTP_HOST": host, "SERVER_NAME": "x",
        "SERVER_PORT": "80", "wsgi.input": io.BytesIO(raw), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http",
        "CONTENT_LENGTH": str(len(raw)), "CONTENT_TYPE": "application/json", "SERVER_PROTOCOL": "HTTP/1.1",
    }  # fmt: skip
    answer: Iterable[bytes] = app(environ, lambda status, headers, *_: told.append(status))
    text = b"".join(answer).decode()
    return told[0].split(" ")[0], json.loads(text) if text else None


def _own_storage(layout: StudyLayout) -> JournalStorage:
    """Open a journal as `optuna-dashboard ledger.journal` does."""
    return JournalStorage(JournalFileBackend(str(layout.journal)))


def test_the_dashboard_sees_states_values_attributes_and_links(finished: StudyLayout) -> None:
    app = guarded(LiveApplication(finished, link), HOSTS)
    status, seen = ask(app, "GET", "/api/studies/0")
    assert status == "200"
    assert (seen["name"], seen["objective_names"]) == ("crash", ["val_auc"])
    assert {"key": "mlflow_run", "value": "http://mlflow/None"} in seen["user_attrs"]
    records = StudyStorage.open(finished).records()
    states = {TrialState.COMPLETE: "Complete", TrialState.PRUNED: "Pruned"}
    assert len(seen["trials"]) == len(records) == 6
    for trial, record in zip(seen["trials"], records, strict=True):
        assert trial["state"] == states[record.state]
        assert [(step["step"], step["value"]) for step in trial["intermediate_values"]] == [
            (epoch.epoch, epoch.values["val_auc"]) for epoch in record.history
        ]
        attrs = {attr["key"]: attr["value"] for attr in trial["user_attrs"]}
        assert attrs.get("mlflow_run") == link(record.trial)
        assert attrs["best.val_auc"] == str(record.metrics["val_auc"])
        assert attrs["best.epoch"] == str(record.epoch)
        assert not any(key.startswith("epoch:") for key in attrs)
        assert (f"]({link(record.trial)})" in trial["note"]["body"]) == (record.trial != 3)
    assert {parameter["name"] for parameter in seen["union_search_space"]} == {"optimizer", "momentum", "learning_rate"}


@pytest.mark.filterwarnings("ignore")  # Optuna has much to say of so few trials
def test_plots_and_tables_of_the_dashboard_work_on_it(finished: StudyLayout) -> None:
    app = LiveApplication(finished, link)
    for path in ("param_importances", "plot/timeline", "plot/parallel_coordinate", "plot/edf"):
        assert ask(app, "GET", f"/api/studies/0/{path}")[0] == "200", path


def shown(app: LiveApplication) -> list[dict[str, Any]]:
    """Return the trials that the dashboard lists."""
    trials: list[dict[str, Any]] = ask(app, "GET", "/api/studies/0")[1]["trials"]
    return trials


def test_a_running_study_is_followed_from_request_to_request(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "study")
    links: dict[int | None, str] = {}
    app = LiveApplication(layout, links.get)
    assert shown(app) == []
    storage.ask()
    storage.report(0, metrics(1, 0.25))
    (trial,) = shown(app)
    assert (trial["state"], trial["intermediate_values"]) == ("Running", [{"step": 1, "value": 0.25}])
    links[0] = "http://mlflow/0"
    assert {"key": "mlflow_run", "value": "http://mlflow/0"} in shown(app)[0]["user_attrs"]
    storage.tell(0, TrialState.COMPLETE, StopReason.FINISHED)
    (trial,) = shown(app)
    assert trial["values"] == [0.25]
    assert {"key": "stop_reason", "value": "finished"} in trial["user_attrs"]
    layout.journal.write_bytes(b"no journal")
    status, answer = ask(app, "GET", "/api/studies/0")
    assert status == "500"
    assert "is damaged" in answer["reason"]


def test_a_line_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    storage, layout = make_storage(tmp_path / "study")
    storage.ask()
    whole = layout.journal.read_bytes()
    storage.report(0, metrics(1, 0.25))
    app = LiveApplication(layout, link)
    assert shown(app)[0]["intermediate_values"] == [{"step": 1, "value": 0.25}]
    layout.journal.write_bytes(whole)
    assert shown(app)[0]["intermediate_values"] == []
    reopened(layout).report(0, metrics(1, 0.75))
    assert shown(app)[0]["intermediate_values"] == [{"step": 1, "value": 0.75}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/0"),
        ("POST", "/api/studies/0/rename"),
        ("PUT", "/api/studies/0/note"),
        ("PUT", "/api/studies/0/1/note"),
        ("POST", "/api/trials/0/tell"),
        ("POST", "/api/trials/0/user-attrs"),
        ("POST", "/api/studies"),
    ],
)
def test_the_served_dashboard_refuses_to_write_in_words(finished: StudyLayout, method: str, path: str) -> None:
    before = finished.journal.read_bytes()
    app = guarded(LiveApplication(finished, link), HOSTS)
    body = {
        "state": "complete",
        "values": [1.0],
        "version": 2,
        "body": "mine",
        "user_attrs": {"a": 1},
        "study_name": "b",
    }
    assert ask(app, method, path, body) == ("403", {"reason": "a study is only shown here: nothing can be changed"})
    assert finished.journal.read_bytes() == before


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example:8080", "[::1", "[", "a]:8080", "\u2100.example"],
)
def test_a_site_that_points_its_name_here_is_refused(host: str) -> None:
    status, said = ask(guarded(lambda environ, start: [b"{}"], HOSTS), "GET", "/", host=host)
    assert status == "403"
    assert "not called" in said["reason"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080"])
def test_this_machines_names_are_let_in(host: str) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"{}"]

    assert ask(guarded(app, HOSTS), "GET", "/", host=host)[0] == "200"


def test_optunas_own_storage_opens_the_file_as_it_stands_and_leaves_it(finished: StudyLayout) -> None:
    before = finished.journal.read_bytes()
    app = wsgi(_own_storage(finished))
    assert ask(app, "GET", "/api/studies")[1]["study_summaries"][0]["study_name"] == "crash"
    seen = ask(app, "GET", "/api/studies/0")[1]
    assert [trial["state"] for trial in seen["trials"]].count("Complete") >= 1
    assert all(trial["intermediate_values"] for trial in seen["trials"])
    assert finished.journal.read_bytes() == before


def test_a_note_written_by_optunas_own_dashboard_disturbs_neither_a_running_study_nor_its_resume(
    tmp_path: Path,
) -> None:
    stories = []
    for noted in (True, False):
        storage, layout = make_storage(tmp_path / f"{noted}", make_spec(4, seed=1))
        storage.ask()
        if noted:
            app = wsgi(_own_storage(layout))
            assert ask(app, "PUT", "/api/studies/0/note", {"version": 1, "body": "mine"})[0] == "204"
        storage.report(0, metrics(1, 0.5))
        assert StudyStorage.open(layout).record(0).history == storage.record(0).history
        drive(layout, Listener())
        stories.append([story(record)[:8] for record in StudyStorage.open(layout).records()])
        if noted:
            assert ask(app, "GET", "/api/studies/0")[1]["note"]["body"] == "mine"
    assert stories[0] == stories[1]


def test_a_study_that_somebody_deleted_with_optunas_own_dashboard_is_said_to_be_damaged(finished: StudyLayout) -> None:
    assert ask(wsgi(_own_storage(finished)), "DELETE", "/api/studies/0", {})[0] == "204"
    with pytest.raises(StudyStorageError, match="must be a whole journal of one study"):
        copy_study(finished, link)


def test_a_study_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StudyStorageError, match="no study in"):
        copy_study(StudyLayout(tmp_path / "nope"), link)
    assert not (tmp_path / "nope").exists()

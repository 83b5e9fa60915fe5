"""What is wrong with a tracking server or database is said before any work, at the command line and below it."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ROOT, TINY, study, study_error, study_without_root_rights
from fault_proxy import Fault, FaultProxy

from study.errors import StudyError, TrackingError, UsageError
from study.paths import Layout
from tracking.client.database import _revisions
from tracking.client.preflight import preflight
from tracking.ui.server import UiServer


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://", "must be http://HOST:PORT"),
        ("http:/host", "must be http://HOST:PORT"),
        ("http://host:port", "must be http://HOST:PORT"),
        ("http://ann:s3cret@host:port", "got `http://ann:***@host:port`"),
        ("localhost:5000", "did you mean http://localhost:5000?"),
        ("./mlruns", "must be a server or a database"),
        ("file:///tmp/mlruns", "must be a server or a database"),
        ("ftp://host", "must be a server or a database"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite://mlflow.db", "four slashes"),
        ("postgresql://ann:s3cret@host:99999999/db", "got `postgresql://ann:***@host:99999999/db`"),
    ],
)
def test_a_uri_that_cannot_mean_a_server_is_refused(tmp_path: Path, uri: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        preflight(Layout(tmp_path), uri, "faces")
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def _set(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(statement)


def _delete(path: Path) -> None:
    _set(path, "INSERT INTO experiments (name, lifecycle_stage) VALUES ('faces', 'deleted')")


def _older(path: Path) -> None:
    known, newest = _revisions()
    _set(path, f"UPDATE alembic_version SET version_num = '{min(known - {newest})}'")


FAULTY: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted experiment": (_delete, "mlflow experiments restore --experiment-id"),
    "older": (_older, "mlflow db upgrade sqlite:///"),
    "newer": (lambda path: _set(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'"), "so newer; install"),
    "another program's": (lambda path: _set(path, "DROP TABLE experiments"), "tables of another program"),
    "no database": (lambda path: path.write_text("no database" * 99), "file is not a database"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:30_000]), "cannot be read"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_database_that_cannot_be_tracked_to_is_an_error(tmp_path: Path, empty_database: Path, fault: str) -> None:
    break_it, words = FAULTY[fault]
    path = Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))
    break_it(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(TrackingError) as caught:
        preflight(Layout(tmp_path), f"sqlite:///{path}", "faces")
    assert words in str(caught.value)
    assert str(path) in str(caught.value) or fault == "deleted experiment"
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_database_that_is_not_there_yet_is_made_later(tmp_path: Path, empty_database: Path) -> None:
    assert preflight(Layout(tmp_path / "new"), f"sqlite:///{tmp_path}/new/mlflow.db", "faces") is None
    assert preflight(Layout(tmp_path), f"sqlite:///{tmp_path}/mlflow.db", "faces") is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TrackingError, match="folder must exist"):
        preflight(Layout(tmp_path), f"sqlite:///{tmp_path}/elsewhere/mlflow.db", "faces")
    path = shutil.copy(empty_database, tmp_path / "mlflow.db")
    assert preflight(Layout(tmp_path), f"sqlite:///{path}", "faces") is None
    with sqlite3.connect(path) as busy:
        busy.execute("BEGIN EXCLUSIVE")  # another study writes
        assert preflight(Layout(tmp_path), f"sqlite:///{path}", "faces") is None


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_read_only_database_is_an_error(tmp_path: Path, empty_database: Path, locked: str) -> None:
    path = Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))
    {"file": path, "folder": tmp_path}[locked].chmod(0o444 if locked == "file" else 0o555)
    file = tmp_path.parent / f"{tmp_path.name}.yaml"
    file.write_text(TINY)
    done = study_without_root_rights(
        "run", file, "--results", tmp_path.parent / f"{tmp_path.name}.out", "--tracking-uri", f"sqlite:///{path}"
    )
    tmp_path.chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: A tracking database must be writable, but {path}: "), done.stderr
    assert not (tmp_path.parent / f"{tmp_path.name}.out").exists()


def test_a_server_that_answers_is_taken(proxy: FaultProxy, tmp_path: Path) -> None:
    assert preflight(Layout(tmp_path), proxy.address, "ü/🙂 'x'") is None
    proxy.script = lambda request: "429"
    assert preflight(Layout(tmp_path), proxy.address, "faces") is None, "a busy server is there"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500", "HTTP 500"),
        ("refused", "reset"),
        ("hanging", "timed out|no answer"),
        ("cut answer", "IncompleteRead|reset"),
    ],
)
def test_a_server_that_fails_is_away(proxy: FaultProxy, tmp_path: Path, fault: Fault, words: str) -> None:
    proxy.script = lambda request: fault
    said = preflight(Layout(tmp_path), proxy.address, "Default", timeout_s=0.5)
    assert said is not None
    assert re.search(words, said)


def test_an_address_of_something_else_is_an_error(proxy: FaultProxy, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"must be the address of an MLflow server, .* answers HTTP 404"):
        preflight(Layout(tmp_path), f"{proxy.address}/wrong", "faces")


def test_a_deleted_experiment_on_a_server_is_an_error(proxy: FaultProxy, server: UiServer, tmp_path: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(server.address)
    client.delete_experiment(client.create_experiment("deleted one"))
    with pytest.raises(TrackingError, match="'deleted one' must not be deleted, but it is; restore it"):
        preflight(Layout(tmp_path), proxy.address, "deleted one")


def test_require_tracking_stops_before_anything_is_made(tmp_path: Path) -> None:
    file, results = tmp_path / "study.yaml", tmp_path / "results"
    file.write_text(TINY)
    done = study("run", file, "--results", results, "--tracking-uri", "http://127.0.0.1:9", "--require-tracking")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: MLflow at http://127.0.0.1:9 cannot be used now: Connection refused; without --require-tracking the "
        f"study goes on and `study sync tiny --results {results}` sends it later\n"
    )
    done = study_error("run", file, "--results", results, "--tracking-uri", "nonsense", code=2)
    assert done.startswith("error: --tracking-uri (or MLFLOW_TRACKING_URI) must be a server or a database")
    assert not results.exists()


def test_the_choice_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cli.options import SharedRunOptions
    from cli.run_session import reach_tracking

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://ann:s3cret@127.0.0.1:{probe.getsockname()[1]}"
        assert not reach_tracking("my study", uri, SharedRunOptions(results=tmp_path))
    (line,) = capsys.readouterr().err.splitlines()
    assert "s3cret" not in line
    assert "`study sync 'my study' --results" in line
    assert "--require-tracking stops here" in line


def test_a_password_in_the_command_line_is_not_in_the_list_of_processes(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    uri = f"http://ann:s3cret@127.0.0.1:{listener.getsockname()[1]}"
    file = tmp_path / "study.yaml"
    file.write_text(TINY)
    command = [sys.executable, "-m", "cli", "run", file, "--tracking-uri", uri, "--require-tracking"]
    process = subprocess.Popen(
        [*command, "--results", tmp_path / "results"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    connection, _ = listener.accept()  # it looks whether the server is there
    shown = Path(f"/proc/{process.pid}/cmdline").read_text()
    request = connection.recv(65_536).decode()
    connection.close()
    listener.close()
    _, errors = process.communicate(timeout=300)
    assert "s3cret" not in shown + errors
    assert "http://ann:***@127.0.0.1" in shown
    assert "Authorization: Basic YW5uOnMzY3JldA==" in request
    assert errors.startswith("error: MLflow at http://ann:***@127.0.0.1")


def test_what_is_raised_is_one_message(tmp_path: Path) -> None:
    for uri in ("nonsense", f"sqlite:///{tmp_path}/no/x.db", "mysql://ann:s3cret@127.0.0.1:9/db"):
        with pytest.raises(StudyError) as caught:
            preflight(Layout(tmp_path), uri, "faces")
        assert "\n" not in str(caught.value)
        assert "s3cret" not in str(caught.value)

"""`study ui` before a browser comes: ports, hosts, and servers that are not there."""

from __future__ import annotations

import io
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from commands import ROOT
from engine_fakes import make_storage

from cli.commands.ui import MLFLOW_PORT
from cli.main import main
from study.errors import StudyError, TrackingError
from study.paths import Layout
from study.utils import network as listening
from tracking.content.ui_views import run_path
from tracking.run_ids import Runs, save_runs
from tracking.ui import server as ui
from tracking.ui.links import DEFAULT_UI, RunLinks
from tracking.ui.server import _access_settings, require_database, server_page


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Start a server that answers everything with one status."""
    servers: list[HTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_taken_port_is_an_error_and_the_next_one_may_be_tried(taken: int) -> None:
    with pytest.raises(
        StudyError, match=rf"free, but 127\.0\.0\.1:{taken} is not .*choose another --port, 0 takes any"
    ):
        listening.free_port("127.0.0.1", taken)
    port = listening.free_port("127.0.0.1", taken, tries=20)
    assert taken < port < taken + 20
    assert listening.free_port("127.0.0.1", 0) not in (0, taken)


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1", "a" * 70])
def test_a_host_that_is_another_machine_is_an_error(host: str) -> None:
    with pytest.raises(StudyError, match="must be a name or an address of this machine"):
        listening.free_port(host, 0)


def test_a_port_beyond_the_last_is_an_error() -> None:
    with pytest.raises(StudyError, match=r"in \[0, 65535\], but is 65536"):
        listening.free_port("127.0.0.1", 65536)
    with socket.create_server(("127.0.0.1", 65535)), pytest.raises(StudyError, match="is not"):
        listening.free_port("127.0.0.1", 65535, tries=10)


def test_other_machines_know_this_one_by_its_names_only() -> None:
    assert listening.allowed_hosts("127.0.0.1") == ("localhost", "127.0.0.1", "[::1]")
    everywhere = listening.allowed_hosts("0.0.0.0")
    assert socket.gethostname() in everywhere
    assert "0.0.0.0" not in everywhere
    assert "box.example" in listening.allowed_hosts("box.example")
    assert listening.public_url("0.0.0.0", 5000) == f"http://{socket.gethostname()}:5000"
    assert listening.local_url("::", 5000) == "http://[::1]:5000"


def test_mlflow_lets_in_whom_we_name_and_nobody_else() -> None:
    from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

    assert _access_settings("127.0.0.1", 5000) == {}
    told = _access_settings("0.0.0.0", 5000)
    patterns = told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    origins = told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    for name in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000", f"{socket.gethostname()}:5000"):
        assert is_allowed_host_header(patterns, name)
        assert not should_block_cors_request(f"http://{name}", "POST", origins)
    assert not is_allowed_host_header(patterns, "evil.example:5000")
    assert should_block_cors_request("http://evil.example:5000", "POST", origins)


def test_a_server_is_opened_without_its_credentials(answering: Callable[[int], str]) -> None:
    for status in (200, 401, 404):
        where = answering(status)
        page = server_page(f"http://ann:s3cret@{where}/", "7")
        assert page.startswith(f"http://{where}/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=")


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(TrackingError, match=r"must answer at http://127\.0\.0\.1:9, but: .*refused.*--tracking-uri"):
        server_page("http://ann:s3cret@127.0.0.1:9", None)


def test_a_database_of_another_program_is_said_before_the_server_starts(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(TrackingError, match="tables of another program"):
        require_database(Layout(tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_links_lead_to_the_server_that_has_the_runs_as_they_come(tmp_path: Path) -> None:
    layout = Layout(tmp_path).study("faces")
    links = RunLinks(layout)
    assert links(None) is None
    assert links.address == DEFAULT_UI == f"http://127.0.0.1:{MLFLOW_PORT}"
    save_runs(layout.runs, Runs("sqlite:////data/mlflow.db", "7", "parent", {}))
    assert (links(None), links(3)) == (DEFAULT_UI + run_path("7", "parent"), None)
    assert links.need_serving
    save_runs(layout.runs, Runs("https://ann:***@host:8443/ml/", "7", "parent", {3: "third"}))
    assert links(3) == "https://host:8443/ml/#/experiments/7/runs/third"
    assert not links.need_serving
    assert RunLinks(layout, "sqlite:////data/mlflow.db")(None) == DEFAULT_UI + run_path("7", "parent")


def run_ui(monkeypatch: pytest.MonkeyPatch, results: Path, *arguments: object) -> tuple[int, str]:
    """Run `study ui` in this process until it fails; return its exit status and what it printed to stderr."""
    monkeypatch.setattr(sys, "argv", ["study", "ui", *map(str, arguments), "--results", str(results)])
    printed, handler = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left, redirect_stderr(printed):
            main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert isinstance(left.value.code, int)
    return left.value.code, printed.getvalue()


def test_the_command_says_what_is_wrong(
    tmp_path: Path, empty_database: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_storage(tmp_path / "studies" / "crash")
    assert "A tracking database must exist to be read" in run_ui(monkeypatch, tmp_path)[1]
    assert not (tmp_path / "mlflow.db").exists()
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    for arguments, status, words in (
        (("nope",), 1, "no study `nope`"),
        (("--port", taken), 1, f"127.0.0.1:{taken} is not"),
        (("--port", 70000), 2, "65535"),
        (("--tracking-uri", "http://127.0.0.1:9"), 1, "must answer at http://127.0.0.1:9"),
        (("--host", "nobody.invalid", "--optuna"), 1, "address of this machine"),
    ):
        code, printed = run_ui(monkeypatch, tmp_path, *arguments)
        assert code == status
        assert words in printed


def test_the_server_ends_with_whoever_started_it_even_if_that_was_killed(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    program = (
        "import sys, time; from pathlib import Path; from tracking.ui.server import serve\n"
        "folder = Path(sys.argv[1]); server = serve(f'sqlite:///{folder}/mlflow.db', folder / 'artifacts', port=0)\n"
        "print(server.address, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert starter.stdout is not None
    port = int(starter.stdout.readline().rpartition(":")[2])
    assert _answers(port)
    starter.kill()
    starter.communicate()
    deadline = time.monotonic() + 300
    while _answers(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _answers(port)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, answering: Callable[[int], str], taken: int
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken}")
    monkeypatch.delenv("no_proxy", raising=False)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        monkeypatch.setattr(ui, "_START_TIMEOUT_S", 10.0)
        ui._wait_until_up(f"http://{answering(200)}", process)
    finally:
        process.communicate(b"\n")


@pytest.mark.parametrize(
    ("end", "how"), [("sys.exit(3)", "it ended with status 3"), ("os.abort()", "signal 6 ended it")]
)
def test_a_server_that_dies_is_an_error_with_its_last_words(
    end: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_storage(tmp_path / "studies" / "crash")
    program = f"import os, sys; print('no room at s3cret', file=sys.stderr, flush=True); {end}"

    def start(*_: object, **__: object) -> ui.UiServer:
        log = (tmp_path / "log").open("w+b")
        process = subprocess.Popen([sys.executable, "-c", program], stderr=log, start_new_session=True)
        servers.append(ui.UiServer("http://a:1", "http://a:1/#/", process, "postgresql://u:s3cret@h/d", log))
        return servers[-1]

    servers: list[ui.UiServer] = []
    monkeypatch.setattr(ui, "serve", start)
    monkeypatch.setattr(ui, "require_database", lambda *_: None)
    code, printed = run_ui(monkeypatch, tmp_path, "--port", "0")
    assert code == 1
    first, *rest = printed.splitlines()
    assert first == f"error: MLflow's server at http://a:1 must go on until it is stopped, but {how}"
    assert rest == ["no room at ***"]
    assert servers[0].log.closed

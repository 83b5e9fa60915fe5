"""A server that wants a password: MLflow's own variables open it, and nothing of them is stored or shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from recorders import play
from tracking_backends import Backend
from tracking_story import STATUSES, write_story

from study.errors import TrackingError
from study.paths import Layout
from tracking.client.client import TrackingClient
from tracking.client.errors import DeniedError, RateLimitedError
from tracking.client.http import proxy_note
from tracking.client.preflight import preflight
from tracking.exporter.recorder import OutboxRecorder
from tracking.exporter.sync import MAX_FAILURES, sync
from tracking.outbox.outbox import read_lines
from tracking.reader import queries
from tracking.run_ids import load_runs
from tracking.tracking_uri import mask_text
from tracking.ui.server import UiServer, server_page

PASSWORD, TOKEN = "s3cret&pass", "t0ken-of-mine"
BASIC = "Basic " + base64.standard_b64encode(f"ann:{PASSWORD}".encode()).decode()


@pytest.fixture
def proxy(proxy: FaultProxy) -> FaultProxy:
    proxy.wanted = BASIC
    return proxy


def _no_secret_in(folder: Path, *said: str) -> None:
    secrets = (PASSWORD, "s3cret", TOKEN, BASIC.removeprefix("Basic "))
    for text in (*said, *(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())):
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("way", ["variables", "token", "address"])
def test_the_right_credentials_open_the_server_and_are_stored_nowhere(
    remote: Backend, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    address = proxy.address
    if way == "variables":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    elif way == "token":
        proxy.wanted = f"Bearer {TOKEN}"
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    else:
        address = address.replace("//", "//ann:s3cret%26pass@")
    assert preflight(remote.layout, address, "faces") is None
    write_story(remote)
    report = sync(remote.layout, remote.study(), address)
    assert {name: run.status for name, run in remote.runs().items()} == STATUSES
    runs = load_runs(remote.study().runs)
    assert runs is not None
    assert report.tracking_uri == runs.tracking_uri == address.replace("s3cret%26pass", "***")
    _no_secret_in(remote.layout.results, str(report))


def test_wrong_credentials_are_said_once_and_the_study_runs_on(
    remote: Backend, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    said = preflight(remote.layout, proxy.address, "faces")
    assert said is not None
    assert "refuses the credentials (HTTP 401); give the right MLFLOW_TRACKING_USERNAME" in said
    events = write_story(remote)
    recorder = OutboxRecorder(remote.study(), proxy.address)
    play(recorder, [])
    assert len(proxy.requests) <= 4, "a server that lets nobody in is not asked for ever"
    assert len(list(read_lines(remote.study().outbox))) == len(events)
    assert caplog.text.count("does not let us in; the study goes on") == 1
    assert caplog.text.count("MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN") == 1
    with pytest.raises(DeniedError, match="MLFLOW_TRACKING_PASSWORD"):
        sync(remote.layout, remote.study(), proxy.address)
    _no_secret_in(remote.layout.results, caplog.text, said)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert sync(remote.layout, remote.study(), proxy.address).sent == len(events)
    assert {name: run.status for name, run in remote.runs().items()} == STATUSES


def test_what_a_server_says_of_a_password_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    said = mask_text(f"no {PASSWORD}, no {TOKEN}, no '{BASIC}'", "http://host")
    assert said == "no ***, no ***, no 'Basic ***'"


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    remote: Backend, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tracking.exporter.sync.time.sleep", pauses.append)
    proxy.wanted, proxy.retry_after = None, "7"
    proxy.script = lambda request: "429"
    write_story(remote)
    with pytest.raises(RateLimitedError, match="429") as caught:
        sync(remote.layout, remote.study(), proxy.address)
    assert caught.value.wait_s == 7
    assert pauses == [7] * MAX_FAILURES
    assert caplog.text.count(f"{proxy.address} asks for patience; going on in 7 s") == MAX_FAILURES
    assert len(proxy.requests) == 2 * (MAX_FAILURES + 1), "one more each time, to ask for how long"
    proxy.retry_after = None
    with pytest.raises(RateLimitedError, match="429") as without:
        sync(remote.layout, remote.study(), proxy.address)
    assert without.value.wait_s == 0


def test_an_outage_that_was_said_at_the_start_is_not_said_again(
    remote: Backend, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    proxy.wanted = None
    proxy.script = lambda request: "500" if request.number < 8 else None
    write_story(remote)
    recorder = OutboxRecorder(remote.study(), proxy.address, known_away=True)
    play(recorder, [])
    assert "is away" not in caplog.text
    assert caplog.text.count("is back; everything that waited was sent") == 1
    assert {name: run.status for name, run in remote.runs().items()} == STATUSES


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_in_the_way_is_named_with_how_to_go_past_it(
    server: UiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv(variable, "http://ann:s3cret@127.0.0.1:9")
    said = [preflight(Layout(tmp_path), server.address, "faces")]
    for ask in (lambda: queries.studies(server.address), lambda: TrackingClient(server.address).experiments(),
                lambda: server_page(server.address, None)):  # fmt: skip
        with pytest.raises(TrackingError) as caught:
            ask()
        said.append(str(caught.value))
    for text in said:
        assert text is not None
        assert f"through the proxy http://ann:***@127.0.0.1:9 of the variable {variable}" in text
        assert "s3cret" not in text
    (command,) = {text.split("`")[1] for text in said if text}
    name, _, value = command.removeprefix("export ").partition("=")
    monkeypatch.setenv(name, value)
    assert preflight(Layout(tmp_path), server.address, "faces") is None
    assert proxy_note(server.address) == ""


def test_the_proxy_is_that_of_the_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ann:s3cret@proxy:3128")
    assert "the proxy http://ann:***@proxy:3128 of the variable HTTPS_PROXY" in proxy_note("https://host/ml")
    assert proxy_note("http://host/ml") == ""

"""The sender as a process of its own: killed, orphaned, closed too early, and never telling a password."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorders import Script, play
from tracking_backends import Backend, until

from study.paths import Layout, StudyLayout
from tracking.client.client import TrackingClient
from tracking.content.tags_and_metrics import Batch
from tracking.exporter import exporter_process, outbox_sender
from tracking.exporter.exporter_process import ExporterProcess
from tracking.exporter.recorder import OutboxRecorder
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox
from tracking.tracking_uri import own_tracking_uri

ENDED = {
    "faces": "FINISHED", "trial 0000": "FINISHED", "trial 0001": "KILLED",
    "trial 0002": "FAILED", "trial 0003": "FINISHED",
}  # fmt: skip
DRIVER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from recorders import Script
from study.paths import Layout
from tracking.exporter.recorder import OutboxRecorder
from tracking.tracking_uri import own_tracking_uri
layout = Layout(Path({results!r}))
recorder = OutboxRecorder(layout.study("faces"), own_tracking_uri(layout), apart=True)
for event in list(Script().whole())[:-1]:
    recorder.record(event)
while recorder._exporter.pid is None:
    pass
print(recorder._exporter.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_sender_is_started_again_and_signals_for_the_driver_do_not_end_it(
    database: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporter_process, "_PAUSES_S", (0.0, 0.0))
    events = list(Script().whole())
    recorder = OutboxRecorder(database.study(), own_tracking_uri(database.layout), apart=True)
    for event in events[:9]:
        recorder.record(event)
    first = _sender(recorder)
    until(lambda: not recorder._reader.pending())
    os.kill(first, signal.SIGKILL)
    second = _sender(recorder, but=first)
    assert os.getsid(second) == second, "Ctrl-C reaches whoever is in the driver's session"
    until(lambda: "tracking.exporter.exporter_process" in _command_line(second) and _ignores(second, signal.SIGINT))
    os.kill(second, signal.SIGINT)
    os.kill(second, signal.SIGTERM)
    play(recorder, events[9:])
    assert not Path(f"/proc/{second}").exists()
    runs = database.runs()
    assert {name: run.status for name, run in runs.items()} == ENDED
    for trial in (0, 3):
        assert database.history(runs[f"trial {trial:04d}"], "train_loss") == [(1, 1.0), (2, 0.5)]
    assert not [record for record in caplog.records if "waiting for" not in record.message]


def test_the_sender_of_a_killed_driver_sends_what_is_there_and_the_next_one_waits_for_it(
    database: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    program = DRIVER.format(tests=str(Path(__file__).parents[1] / "support"), results=str(database.layout.results))
    driver = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert driver.returncode == -signal.SIGKILL, driver.stderr
    orphan = int(driver.stdout)
    assert Path(f"/proc/{orphan}").exists(), "it cannot have sent all of it yet"
    recorder = database.open()
    play(recorder, list(Script().whole())[-1:])
    until(lambda: not Path(f"/proc/{orphan}").exists())
    assert {name: run.status for name, run in database.runs().items()} == ENDED
    assert "is away" not in caplog.text


def test_a_password_is_in_no_command_line_and_a_server_that_is_away_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    layout = Layout(tmp_path)
    recorder = OutboxRecorder(layout.study("faces"), "http://ann:s3cret@127.0.0.1:9", apart=True, close_timeout_s=0.5)
    for event in list(Script().whole())[:2]:
        recorder.record(event)
    pid = _sender(recorder)
    until(lambda: "is away" in caplog.text)
    for told in ("cmdline", "environ"):
        assert b"s3cret" not in Path(f"/proc/{pid}/{told}").read_bytes()
    begin = time.monotonic()
    recorder.close()
    assert time.monotonic() - begin < 50
    assert not Path(f"/proc/{pid}").exists()
    assert "2 events could not be sent" in caplog.text
    assert "ann:***@" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_last_events_wait_a_told_time_for_a_server_that_does_not_answer(
    tmp_path: Path, hanging: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_sender, "_SILENT_S", 0.5)
    monkeypatch.setattr(outbox_sender, "_SAY_EVERY_S", 0.5)
    study = Layout(tmp_path).study("faces")
    recorder = OutboxRecorder(study, hanging, close_timeout_s=2.0)
    recorder.record(Script().start())
    began = time.monotonic()
    recorder.close()
    assert 2 <= time.monotonic() - began < 4
    told = [line for line in caplog.messages if line.startswith("waiting for MLflow")]
    assert 2 <= len(told) <= 4
    assert re.match(rf"waiting for MLflow at {hanging} to take the last 1 events, until \d\d:\d\d:\d\d if", told[0])
    assert "Ctrl-C leaves" in told[0]
    assert f"`{study.command('sync')}` sends them" in caplog.messages[-1]


def test_a_server_that_answers_is_waited_for_longer(
    database: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log_batch = TrackingClient.log_batch

    def slow(client: TrackingClient, run_id: str, batch: Batch) -> None:
        time.sleep(0.3)
        log_batch(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "log_batch", slow)
    recorder = OutboxRecorder(database.study(), own_tracking_uri(database.layout), close_timeout_s=1.0)
    play(recorder, Script().whole())
    assert {name: run.status for name, run in database.runs().items()} == ENDED


def test_ctrl_c_leaves_at_once_and_loses_nothing(
    database: Backend, hanging: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = OutboxRecorder(database.study(), hanging, apart=True, close_timeout_s=60.0)
    for event in list(Script().whole())[:2]:
        recorder.record(event)
    pid = _sender(recorder)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    recorder.close()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 5
    assert "2 events could not be sent" in caplog.text
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert sync(database.layout, database.study()).sent == 2


def test_a_sender_that_always_crashes_is_given_up_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporter_process, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(exporter_process, "_COMMAND", (sys.executable, "-c", "raise SystemExit(7)"))
    study = StudyLayout(tmp_path)
    sender = ExporterProcess(study, "http://127.0.0.1:9")
    sender.start()
    until(lambda: "ended 3 times by itself, the last time with status 7" in caplog.text)
    assert str(study.outbox) in caplog.text
    assert not sender.close(5.0)


def test_words_of_the_sender_reach_the_log_of_the_driver(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "tracking")
    exporter_process._log_line(json.dumps({"logger": "tracking", "level": logging.ERROR, "text": "100 % lost"}))
    exporter_process._log_line('{"logger": "tra')
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.ERROR, "100 % lost")]


def test_a_sender_whose_driver_died_before_its_first_word_ends(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.jsonl")
    outbox.append(Script().start())
    outbox.close()
    done = subprocess.run(exporter_process._COMMAND, input="", capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert own_tracking_uri(Layout(tmp_path)).endswith("mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def _sender(recorder: OutboxRecorder, but: int = 0) -> int:
    """Return the process that sends, once there is one other than ``but``."""
    sender = recorder._exporter
    assert isinstance(sender, ExporterProcess)
    until(lambda: sender.pid not in (None, but))
    assert sender.pid is not None
    return sender.pid


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _ignores(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (number - 1) & 1)

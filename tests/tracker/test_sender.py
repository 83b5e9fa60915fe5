"""The sender as a process of its own: killed, orphaned, closed too early, and never telling a password."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorders import Script, play

from study.paths import Layout, StudyLayout
from tracking.exporter import exporter_process
from tracking.exporter.exporter_process import ExporterProcess
from tracking.exporter.recorder import OutboxRecorder, open_recorder
from tracking.outbox.outbox import Outbox
from tracking.tracking_uri import own_tracking_uri

if TYPE_CHECKING:
    from tracking_backends import Backend

pytest_plugins = ("tracking_backends",)
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
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
from tracking.exporter.recorder import open_recorder
layout = Layout(Path({results!r}))
recorder = open_recorder(layout, layout.study("faces"), None, apart=True)
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
    recorder = open_recorder(database.layout, database.study(), database.uri, apart=True)
    first = _sender(recorder)
    for event in events[:9]:
        recorder.record(event)
    _until(lambda: not recorder._reader.pending())
    os.kill(first, signal.SIGKILL)
    second = _sender(recorder, but=first)
    assert os.getsid(second) == second, "Ctrl-C reaches whoever is in the driver's session"
    _until(lambda: "tracking.exporter.exporter_process" in _command_line(second) and _ignores(second, signal.SIGINT))
    os.kill(second, signal.SIGINT)
    os.kill(second, signal.SIGTERM)
    play(recorder, events[9:])
    assert not Path(f"/proc/{second}").exists()
    runs = database.runs()
    assert {name: run.status for name, run in runs.items()} == ENDED
    for trial in (0, 3):
        assert database.history(runs[f"trial {trial:04d}"], "train_loss") == [(1, 1.0), (2, 0.5)]
    assert not caplog.records


def test_the_sender_of_a_killed_driver_sends_what_is_there_and_the_next_one_waits_for_it(
    database: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    program = DRIVER.format(tests=str(Path(__file__).parents[1] / "support"), results=str(database.layout.results))
    driver = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert driver.returncode == -signal.SIGKILL, driver.stderr
    orphan = int(driver.stdout)
    assert Path(f"/proc/{orphan}").exists(), "it cannot have sent all of it yet"
    recorder = database.open()
    play(recorder, list(Script().whole())[-1:])
    _until(lambda: not Path(f"/proc/{orphan}").exists())
    assert {name: run.status for name, run in database.runs().items()} == ENDED
    assert not caplog.records, "nobody is away"


def test_a_password_is_in_no_command_line_and_a_server_that_is_away_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    layout = Layout(tmp_path)
    recorder = open_recorder(layout, layout.study("faces"), "http://ann:s3cret@127.0.0.1:9", apart=True)
    recorder.record(Script().start())
    pid = _sender(recorder)
    _until(lambda: "is away" in caplog.text)
    for told in ("cmdline", "environ"):
        assert b"s3cret" not in Path(f"/proc/{pid}/{told}").read_bytes()
    begin = time.monotonic()
    recorder.close(0.5)
    assert time.monotonic() - begin < 10
    assert not Path(f"/proc/{pid}").exists()
    assert "1 events could not be sent" in caplog.text
    assert "ann:***@" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_sender_that_always_crashes_is_given_up_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporter_process, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(exporter_process, "_COMMAND", (sys.executable, "-c", "raise SystemExit(7)"))
    study = StudyLayout(tmp_path)
    sender = ExporterProcess(study, "http://127.0.0.1:9")
    sender.start()
    _until(lambda: "ended 3 times by itself, the last time with status 7" in caplog.text)
    assert str(study.outbox) in caplog.text
    assert not sender.close(5.0)


def test_words_of_the_sender_reach_the_log_of_the_driver(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "tracking")
    exporter_process._log_line(json.dumps({"logger": "tracking", "level": logging.ERROR, "text": "100 % lost"}))
    exporter_process._log_line('{"logger": "tra')
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [(logging.ERROR, "100 % lost")]


def test_a_sender_whose_driver_died_before_its_first_word_ends(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.jsonl")
    outbox.append(Script().start())
    outbox.close()
    done = subprocess.run(exporter_process._COMMAND, input="", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert own_tracking_uri(Layout(tmp_path)).endswith("mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def _sender(recorder: OutboxRecorder, but: int = 0) -> int:
    """Return the process that sends, once there is one other than ``but``."""
    sender = recorder._exporter
    assert isinstance(sender, ExporterProcess)
    _until(lambda: sender.pid not in (None, but))
    assert sender.pid is not None
    return sender.pid


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _ignores(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (number - 1) & 1)


def _until(condition: object, timeout_s: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

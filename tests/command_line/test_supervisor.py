"""The process around a study's driver: signals, exit codes, and what it says where the driver dies without a word."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from commands import ROOT, TINY, study_stdout

BEGIN = """
import os, signal, sys, time
from cli.supervisor import leave_last_words, say_goodbye, supervise
heard = []
def note(number, frame):
    heard.append(number)
    print("heard", signal.Signals(number).name, flush=True)
supervise()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, note)
print("child", os.getpid(), flush=True)
"""
AWAIT = """
until = time.monotonic() + 300
while not heard and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.3)
print("heard", len(heard), flush=True)
say_goodbye()
sys.exit(7)
"""


def heed_signals() -> None:
    """Heed signals even where the tests run under nohup or in the background of a shell."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def take_terminal() -> None:
    """Heed signals, and have standard input as the controlling terminal."""
    heed_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def start(script: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BEGIN + script]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": heed_signals} | options
    return subprocess.Popen(command, text=True, cwd=ROOT, start_new_session=True, **streams)  # type: ignore[call-overload,no-any-return]


def child_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().removeprefix("child "))


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False


def until(holds: Callable[[], bool], timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("sys.exit(0)", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("leave_last_words('resume it'); say_goodbye(); sys.exit(130)", 130, ""),
        ("leave_last_words('resume it'); os._exit(1)", 1, "error: Ray ended the study's process, as it does"),
        ("leave_last_words('resume it'); os.kill(os.getpid(), signal.SIGKILL)", -9, "was killed by SIGKILL, as the"),
        ("leave_last_words('resume it'); os.abort()", 128 + 6, "the study's process was killed by SIGABRT; resume it"),
    ],
)
def test_it_ends_as_the_driver_did_and_says_what_the_driver_could_not(end: str, code: int, said: str) -> None:
    process = start(end)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    assert said in errors
    assert ("resume it" in errors) is bool(said)
    assert errors.count("\n") == bool(said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on(number: signal.Signals) -> None:
    process = start(AWAIT)
    child_of(process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=300)
    assert (output, errors, process.returncode) == (f"heard {number.name}\nheard 1\n", "", 7)


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    process = start(AWAIT, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    child_of(process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert output == "heard SIGTERM\nheard 1\n"


@pytest.mark.parametrize("by", ["interrupt", "end"])
def test_a_terminals_signals_reach_the_driver_once(by: str, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    heard = tmp_path / "heard"
    process = start(
        f"sys.stdout = open({str(heard)!r}, 'w')\n{AWAIT}", stdin=terminal, stdout=terminal, stderr=terminal,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(terminal)
    while not heard.exists():
        time.sleep(0.01)
    if by == "interrupt":
        os.write(controller, b"\x03")
        assert process.wait(30) == 7
    os.close(controller)
    assert process.wait(30) == 7
    assert heard.read_text() == f"heard {'SIGINT' if by == 'interrupt' else 'SIGHUP'}\nheard 1\n"


def test_no_driver_outlives_its_supervisor() -> None:
    process = start("time.sleep(60)")
    child = child_of(process)
    process.kill()
    process.communicate(timeout=300)
    until(lambda: not is_alive(child))


def test_a_suspended_study_stops_as_a_whole_and_goes_on() -> None:
    process = start(AWAIT)
    child = child_of(process)

    def states() -> list[str]:
        return [
            Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            for pid in (process.pid, child)
        ]

    os.kill(child, signal.SIGSTOP)  # a group without a terminal is not stopped by SIGTSTP
    until(lambda: states()[1] == "T")
    process.send_signal(signal.SIGCONT)
    until(lambda: states()[1] == "S")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300)[0] == "heard SIGTERM\nheard 1\n"


def test_where_ray_loses_a_process_of_its_own_the_way_on_is_said(
    tmp_path: Path, shared_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("max_epochs: 2", "max_epochs: 6").replace("trials: 3", "trials: 2"))
    command = [sys.executable, "-m", "cli", "run", str(file), "--results", str(tmp_path / "results")]
    with monkeypatch.context() as patch:
        patch.delenv("RAY_ADDRESS")  # it has a cluster of its own, whose two workers are one more than it uses
        patch.setenv("RAY_preload_python_modules", "")
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        )
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    agents = [pid for pid in _session(process.pid) if b"DashboardAgent" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(agents[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    # Which of the two it is depends on what the driver asks of Ray first.
    assert errors.startswith(("error: Ray ended the study's process", "error: Ray must have a node")), errors
    assert f"go on with: study resume tiny --results {tmp_path}/results" in errors
    until(lambda: not any(b"Trainable" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _session(process.pid)))
    assert "2 COMPLETE" in study_stdout("resume", "tiny", "--results", tmp_path / "results")


def _session(leader: int) -> list[int]:
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                pids.append(int(entry.name))
    return pids

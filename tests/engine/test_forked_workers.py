"""Ray's workers are forked from a process that has imported torch, and start by themselves where that cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
import ray

from study.engine.ray import forked_workers as module
from study.engine.ray import worker_launcher
from study.engine.ray.fork_server import MODULES, ForkServer
from study.engine.ray.forked_workers import SWITCH, fork_server, launching_python
from study.engine.ray.worker_launcher import launch

RAY_KNOWN = "2.60"
"""The version whose way to start workers this was written for."""
LIMIT_S = 30.0
# A server that has nothing to import; its workers are asked for by a launcher, as in a study.
SERVER = "import study.engine.ray.fork_server as server; server.MODULES = (); server.main()"


def wait_until(true: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def code_of(launcher: subprocess.Popen[str]) -> int:
    launcher.communicate(timeout=LIMIT_S)
    return launcher.returncode


@dataclass(frozen=True)
class Server:
    """A fork server, and what is needed to ask it for workers."""

    process: subprocess.Popen[bytes]
    address: Path
    folder: Path

    def launch(self, script: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Start a launcher for a worker's script."""
        file = self.folder / "default_worker.py"
        file.write_text(script)
        launcher = [sys.executable, "-I", "-S", worker_launcher.__file__, str(self.address), sys.executable]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*launcher, str(file), *arguments], **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


@contextmanager
def serving(folder: Path, code: str = SERVER) -> Iterator[Server]:
    address = folder / "of the server" / "socket"
    address.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(listener.fileno()), "0"],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    with process:
        try:
            yield Server(process, address, folder)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("f")) as running:
        yield running


def test_a_forked_worker_runs_as_its_launcher_would(server: Server, tmp_path: Path) -> None:
    script = """
import json, os, sys
print(json.dumps({
    "parent": os.getppid(), "group": os.getpgid(0) == os.getpid(), "argv": sys.argv, "name": __name__,
    "folder": os.getcwd(), "environment": dict(os.environ), "path": sys.path[0], "niceness": os.getpriority(0, 0),
    "memory": open("/proc/self/oom_score_adj").read().strip(), "input": sys.stdin.read(),
    "files": sorted(int(number) for number in os.listdir("/proc/self/fd"))[:4],
}))
print("an error", file=sys.stderr)
"""
    environment = {"LC_ALL": "C.UTF-8", "NOT_TEXT": os.fsdecode(b"\xff"), "PATH": os.environ["PATH"]}
    prepare = lambda: (os.nice(3), Path("/proc/self/oom_score_adj").write_text("700"))  # noqa: E731
    process = server.launch(
        script, "--some", "a b", "", env=environment, cwd=tmp_path, stdin=subprocess.PIPE, preexec_fn=prepare
    )
    out, err = process.communicate("typed", timeout=LIMIT_S)
    assert (process.returncode, err) == (0, "an error\n")
    seen = json.loads(out)
    assert seen["parent"] == server.process.pid
    assert seen["group"], "Ray kills the group of a worker that it lost"
    assert seen["argv"] == [str(server.folder / "default_worker.py"), "--some", "a b", ""]
    assert (seen["name"], seen["folder"], seen["path"]) == ("__main__", str(tmp_path), str(server.folder))
    assert seen["environment"] == environment
    assert (seen["niceness"], seen["memory"], seen["input"]) == (os.getpriority(os.PRIO_PROCESS, 0) + 3, "700", "typed")
    assert seen["files"][:3] == [0, 1, 2]


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('why')", 1, ""),
        ("raise ValueError('a mistake')", 1, "ValueError: a mistake\n"),
        ("import os; os._exit(200)", 200, ""),
        ("import os; os.kill(os.getpid(), 11)", 128 + signal.SIGSEGV, ""),
    ],
)
def test_a_launcher_ends_as_its_worker_did(server: Server, script: str, code: int, error: str) -> None:
    process = server.launch(script)
    _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err[-len(error) :] if error else err) == (code, error)


def forks(server: Server) -> bool:
    """Return whether a worker that is asked for now is forked."""
    launcher = server.launch("import os; print(os.getppid())")
    return int(launcher.communicate(timeout=LIMIT_S)[0]) == server.process.pid


SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def test_a_worker_is_killed_with_its_launcher_and_others_go_on(server: Server) -> None:
    first, second = server.launch(SLEEPS), server.launch(SLEEPS)
    assert first.stdout
    assert second.stdout
    killed, other = int(first.stdout.readline()), int(second.stdout.readline())
    first.kill()
    assert code_of(first) == -signal.SIGKILL
    wait_until(lambda: not is_running(killed))
    assert is_running(other)
    os.kill(other, signal.SIGTERM)
    assert code_of(second) == 128 + signal.SIGTERM
    assert forks(server), "with the numbers of descriptors that those two gave up"


def test_a_signal_to_all_processes_does_not_end_the_server(server: Server) -> None:
    assert forks(server), "it has imported everything"
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(server.process.pid, number)
        assert forks(server)


@pytest.mark.parametrize("end", ["its driver is gone", "it is killed"])
def test_a_server_ends_with_its_driver_and_workers_start_without_it(tmp_path: Path, end: str) -> None:
    with serving(tmp_path) as server:
        worker = server.launch(SLEEPS)
        assert worker.stdout
        pid = int(worker.stdout.readline())
        if end == "it is killed":
            server.process.kill()
        else:
            assert server.process.stdin
            server.process.stdin.close()
        server.process.wait(LIMIT_S)
        assert worker.wait(LIMIT_S) != 0
        if end == "it is killed":
            os.kill(pid, signal.SIGKILL)  # Ray's own part ends a worker then, which this one has not
        worker.communicate(timeout=LIMIT_S)
        wait_until(lambda: not is_running(pid))
        assert server.address.parent.exists() == (end == "it is killed")
        alone = server.launch("import os; print(os.getppid())")
        assert int(alone.communicate(timeout=LIMIT_S)[0]) == os.getpid()


def test_a_worker_starts_by_itself_if_the_server_does_not_answer_and_is_not_forked_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_launcher, "ANSWER_TIMEOUT_S", 0.05)
    script, mark = tmp_path / "default_worker.py", tmp_path / "ran"
    script.write_text(f"open({str(mark)!r}, 'w').close()")
    with serving(tmp_path, "import sys; sys.stdin.readline()\n" + SERVER) as server:
        assert launch(str(server.address), [str(script)]) is None
        assert server.process.stdin
        server.process.stdin.write(b"\n")
        server.process.stdin.flush()
        assert forks(server), "it answers now"
    assert not mark.exists()


def test_a_worker_starts_by_itself_if_no_process_can_be_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    address, (ours, theirs) = tmp_path / "socket", os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen()
        thread = Thread(target=ForkServer(listener, ours).serve)
        thread.start()
        try:
            assert launch(str(address), ["default_worker.py"]) is None
        finally:
            os.close(theirs)
            thread.join(LIMIT_S)
    os.close(ours)


def test_nothing_of_ray_is_imported_before_a_fork() -> None:
    """Ray's C++ part reads the environment as it is imported, and CUDA does not survive a fork."""
    code = f"""
import importlib, os, sys
for name in {MODULES!r}:
    importlib.import_module(name)
import study.engine.ray.fork_server, torch
print([name for name in sys.modules if name.partition(".")[0] == "ray"], torch.cuda.is_initialized())
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_another_script_runs_as_usual_with_that_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(address: Path) -> subprocess.Popen[bytes]:
        listener.bind(str(address))
        listener.listen()
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE)

    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(module, "_start", start)
    (tmp_path / "a b's.py").write_text("import sys; print(sys.argv[1:], sys.executable)")
    with listener, fork_server(tmp_path) as python:
        assert python != sys.executable
        done = subprocess.run(
            [python, str(tmp_path / "a b's.py"), "x/default_worker.py"], capture_output=True, text=True, check=True
        )
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()  # nobody asked for a worker
    assert done.stdout == f"['x/default_worker.py'] {sys.executable}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a b's.py"]


@pytest.mark.parametrize("why", ["switched off", "another system", "no folder", "no program may run there"])
def test_workers_start_as_usual_where_none_can_be_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(module, "_start", lambda address: subprocess.Popen(["cat"], stdin=subprocess.PIPE))
    monkeypatch.delenv(SWITCH, raising=False)
    folder = tmp_path
    if why == "switched off":
        monkeypatch.setenv(SWITCH, "0")
    elif why == "another system":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif why == "no folder":
        folder = tmp_path / "missing"
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with fork_server(folder) as python:
        assert python == sys.executable
    assert list(tmp_path.iterdir()) == []


def test_python_is_replaced_only_while_ray_starts() -> None:
    usual = sys.executable
    with suppress(KeyError), launching_python("/another"):
        assert sys.executable == "/another"
        raise KeyError
    assert sys.executable == usual


# One real cluster: what its workers are, and what becomes of them.
CLUSTER = """
import json, os, signal, subprocess, sys, time
import ray
from study.engine.ray.cluster import cluster

class Worker:
    def about(self):
        return {"pid": os.getpid(), "parent": os.getppid(), "torch": "torch" in sys.modules}
    def hang(self):
        import ctypes
        ctypes.PyDLL(None).sleep(600)  # which keeps Python's lock
def command(pid):
    return open(f"/proc/{pid}/cmdline").read().split("\\0")
seen = {}
with cluster(None):
    seen["python"] = sys.executable
    make = ray.remote(Worker).options(num_cpus=1).remote
    first, second = make(), make()
    seen["first"], seen["second"] = ray.get([first.about.remote(), second.about.remote()])
    server = seen["first"]["parent"]
    seen["server"] = command(server)[1:3]
    second.hang.remote()
    time.sleep(0.5)
    ray.kill(second)
    give_up_s = time.monotonic() + 30
    while os.path.exists(f"/proc/{seen['second']['pid']}") and time.monotonic() < give_up_s:
        time.sleep(0.05)
    seen["killed"] = not os.path.exists(f"/proc/{seen['second']['pid']}")
    third = make()
    seen["third"] = ray.get(third.about.remote())
    os.kill(server, signal.SIGKILL)
    ray.kill(third)
    seen["still"] = ray.get(first.about.remote())
    seen["fourth"] = ray.get(make().about.remote())
print(json.dumps(seen))
"""


def test_workers_of_a_cluster_are_forked_and_the_server_may_die(tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_TMPDIR": "/tmp", "RAY_preload_python_modules": ""}
    environment.pop(SWITCH, None)
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    known = f"written for ray {RAY_KNOWN}, this is ray {ray.__version__}: it must start {module.WORKER_SCRIPT} first"
    assert seen["server"] == ["-m", "study.engine.ray.fork_server"], known
    assert seen["python"] == sys.executable
    server = seen["first"]["parent"]
    assert all(seen[name]["parent"] == server and seen[name]["torch"] for name in ("first", "second", "third"))
    assert seen["killed"], "also one that answers nothing"
    assert seen["still"]["pid"] == seen["first"]["pid"]
    assert seen["fourth"]["parent"] not in (server, 1), "Ray's own process started it"
    assert not any(is_running(seen[name]["pid"]) for name in ("first", "third", "fourth"))

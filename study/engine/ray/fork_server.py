"""The fork server: a process that has imported torch, and forks into a Ray worker whenever a launcher asks for one.

It imports nothing of Ray, whose C++ part keeps what it read from the environment, and it never runs torch, so that it
holds no GPU; its only threads are those that OpenBLAS and jemalloc start at import, and both expect to be forked.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from study.engine.ray.worker_launcher import FORKED, GREETING, LENGTH_BYTES, REFUSED

MODULES = ("torch", "torchvision", "pandas", "scipy", "study.training.trainer")
PYTHON = "python"
"""File beside the socket: what Ray starts in place of Python."""
REQUEST_TIMEOUT_S = 10.0
CREDENTIALS = struct.Struct("3i")
SIGNAL_CODES = 128


class ForkServer:
    """Forks a worker for each launcher; one that lost its launcher is killed, as a launcher stands for its worker."""

    def __init__(self, listener: socket.socket, driver: int) -> None:
        """``driver`` is a pipe's end that reads as closed once the driver is gone."""
        self._listener = listener
        self._driver = driver
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(driver, selectors.EVENT_READ)
        self._workers: dict[int, tuple[int, socket.socket]] = {}  # process, by both descriptors that tell of it

    def serve(self) -> None:
        """Fork workers until the driver is gone, then kill those that are left."""
        try:
            while True:
                ready = {key.fd for key, _ in self._selector.select()}
                if self._driver in ready:
                    return
                for descriptor in ready:
                    if descriptor in self._workers:
                        self._end(*self._workers[descriptor])
                if self._listener.fileno() in ready:  # last: its descriptors have numbers that others gave up
                    self._accept()
        finally:
            for pid in {pid for pid, _ in self._workers.values()}:
                os.kill(pid, signal.SIGKILL)

    def _accept(self) -> None:
        """Fork a worker for the launcher that connects, unless it is gone or of another user."""
        connection, _ = self._listener.accept()
        connection.settimeout(REQUEST_TIMEOUT_S)
        launcher, user, _ = CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        try:
            if user != os.getuid():
                raise PermissionError(user)
            connection.sendall(GREETING)
            request, streams = _receive(connection)
        except OSError:
            connection.close()
            return
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            try:
                self._forget(connection)
                _become_worker(request, streams, launcher)
            finally:
                os._exit(1)
        for stream in streams:
            os.close(stream)
        if pid < 0:
            with suppress(OSError):
                connection.sendall(REFUSED)
            connection.close()
            return
        with suppress(OSError):  # a launcher that is gone is noticed next
            connection.sendall(FORKED)
        exited = os.pidfd_open(pid)
        self._workers |= {exited: (pid, connection), connection.fileno(): (pid, connection)}
        self._selector.register(exited, selectors.EVENT_READ)
        self._selector.register(connection, selectors.EVENT_READ)

    def _end(self, pid: int, connection: socket.socket) -> None:
        """Kill a worker whose launcher is gone, or tell the launcher how its worker ended."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # of no effect on one that has ended, which is still to be waited for
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):
            connection.sendall(bytes([code & 0xFF if code >= 0 else SIGNAL_CODES - code]))
        for descriptor in [number for number, (other, _) in self._workers.items() if other == pid]:
            self._selector.unregister(descriptor)
            del self._workers[descriptor]
            if descriptor != connection.fileno():
                os.close(descriptor)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        """Close in a worker what belongs to the server."""
        self._selector.close()
        for descriptor, (_, other) in self._workers.items():
            if descriptor != other.fileno():
                os.close(descriptor)
        for other in {id(other): other for _, other in self._workers.values()}.values():
            other.close()
        connection.close()
        self._listener.close()


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a launcher's request and its three streams.

    Raises:
        OSError: the launcher is gone, or too slow.
    """
    head, streams, _, _ = socket.recv_fds(connection, LENGTH_BYTES, 3)
    try:
        size, data = int.from_bytes(head, "big"), b""
        while len(data) < size:
            if not (part := connection.recv(size - len(data))):
                break
            data += part
        if len(head) < LENGTH_BYTES or len(data) < size or len(streams) < 3:
            raise ConnectionError("a launcher must send its request whole")
        return json.loads(data), streams
    except OSError:
        for stream in streams:
            os.close(stream)
        raise


def _become_worker(request: dict[str, Any], streams: list[int], launcher: int) -> NoReturn:
    """Run the launcher's script as the launcher would have: its streams, environment, folder, priority."""
    code = 1
    try:
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        for stream in streams:
            if stream > 2:
                os.close(stream)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)  # Ray kills the group of a worker that it lost
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        _adopt_priority(launcher)
        sys.argv[:] = request["argv"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _adopt_priority(launcher: int) -> None:
    """Take over what Ray set for the process it started: its niceness, and that it goes first when memory runs out."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, launcher))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(Path(f"/proc/{launcher}/oom_score_adj").read_text())


def main() -> None:
    """Import what trials need, then serve; the arguments are the descriptors of the listener and the driver's pipe."""
    listener, driver = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.close(os.pidfd_open(os.getpid()))  # an error here, where the system has none, lets all workers start without it
    gc.disable()
    for name in MODULES:
        import_module(name)
    gc.freeze()  # so that no worker's collector looks at it, which would copy the memory it lies in
    gc.enable()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a batch system, to all; the workers get it themselves
    try:
        ForkServer(listener, driver).serve()
    except Exception:
        traceback.print_exc()
    finally:
        _remove_folder(Path(listener.getsockname()))
        os._exit(0)


def _remove_folder(address: Path) -> None:
    """Remove the socket and the folder made for it, which a driver that was killed has left."""
    with suppress(OSError):
        for path in (address, address.with_name(PYTHON)):
            path.unlink(missing_ok=True)
        address.parent.rmdir()


if __name__ == "__main__":
    main()

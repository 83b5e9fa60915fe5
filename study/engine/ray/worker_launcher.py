"""Have a Ray worker forked by the fork server, and run beside it until it ends; Ray starts this in place of a worker.

It is run as a script, without this package, and imports little: a worker that is forked shall be there at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys

ANSWER_TIMEOUT_S = 20.0
"""Of the 60 s that Ray gives a worker to report itself; the rest is left for one that starts without the server."""
LENGTH_BYTES = 8
GREETING, FORKED, REFUSED = b"g", b"f", b"r"
LOST = 1
"""Exit code if the server is gone; what became of the worker is not known then."""


def launch(address: str, argv: list[str]) -> int | None:
    """Have a worker forked with this process's environment and streams; return its exit code when it ended.

    Returns:
        None if the server forks none; the caller starts one then.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(address)
            if connection.recv(1) != GREETING:
                return None
        except OSError:
            return None
        request = json.dumps({"argv": argv, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
        try:
            connection.settimeout(None)
            socket.send_fds(connection, [len(request).to_bytes(LENGTH_BYTES, "big")], [0, 1, 2])
            connection.sendall(request)
            answer = connection.recv(1)
            if answer == REFUSED:
                return None
            code = connection.recv(1)
        except OSError:
            return LOST
    return code[0] if answer == FORKED and code else LOST


if __name__ == "__main__":
    server, python, *worker = sys.argv[1:]
    if (exit_code := launch(server, worker)) is None:
        os.execv(python, [python, *worker])
    os._exit(exit_code)

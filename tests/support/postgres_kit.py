"""A PostgreSQL server of Debian's packages in a temporary folder, for the tests that need one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "study", "s3cret/pass@word"
_QUOTED = "s3cret%2Fpass%40word"
_START_TIMEOUT_S = 60.0


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest; None where it is not installed."""
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    initdb = shutil.which("initdb") or (str(known[-1]) if known else None)
    return None if initdb is None else Path(initdb).parent


@dataclass(frozen=True)
class Postgres:
    """A running server with an empty database for every name asked for."""

    port: int

    def uri(self, database: str = "postgres", password: str = _QUOTED) -> str:
        return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> None:
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, connect_timeout=5
        )
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()


@contextmanager
def postgres(binaries: Path) -> Iterator[Postgres]:
    """Start a server; root may not run one and lets the user `postgres` do it."""
    folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))  # not pytest's: others cannot look into root's folders
    words = folder / "password"
    words.write_text(PASSWORD)
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if other:
        for path in (folder, words):
            shutil.chown(path, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        database = Postgres(probe.getsockname()[1])
    make = [binaries / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256", f"--pwfile={words}", "-N"]
    subprocess.run([*other, *make, "--locale=C.UTF-8", "-E", "UTF8"], check=True, capture_output=True, cwd=folder)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": database.port,
        "unix_socket_directories": folder,
        "fsync": "off",
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    server = subprocess.Popen(
        [*other, binaries / "postgres", "-D", folder / "data", *options], cwd=folder, stderr=subprocess.DEVNULL
    )
    try:
        _await(database, server)
        yield database
    finally:
        server.send_signal(signal.SIGINT)  # a fast end, which does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    import psycopg2

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            return server.run("SELECT 1")
        except psycopg2.OperationalError:
            assert process.poll() is None, "PostgreSQL ended at once"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.1)

"""Fixtures of the tracking tests: each place MLflow can be, and what it tells of a study."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_proxy import between, every
from recorders import Script, play, write_checkpoint

from study.paths import Layout, StudyLayout
from tracking.client.client import Run, TrackingClient
from tracking.exporter.recorder import OutboxRecorder
from tracking.tracking_uri import default_tracking_uri
from tracking.ui.server import UiServer, serve

PLAYED = "played"


def until(holds: Callable[[], object], timeout_s: float = 300.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@dataclass
class Backend:
    """A place to record to, and what it then tells of a study."""

    kind: str
    layout: Layout
    uri: str | None
    name: str = "faces"

    def study(self) -> StudyLayout:
        return self.layout.study(self.name)

    def open(self) -> OutboxRecorder:
        return OutboxRecorder(self.study(), default_tracking_uri(self.layout, self.uri))

    def client(self) -> TrackingClient:
        return TrackingClient(default_tracking_uri(self.layout, self.uri))

    def runs(self) -> dict[str, Run]:
        """Return every run of a study by its name; two of one name are a fault."""
        client = self.client()
        experiment = client.find_experiment(self.name)
        assert experiment is not None
        runs = list(client.search([experiment.id], ""))
        assert len({run.name for run in runs}) == len(runs), f"runs with the same name: {[run.name for run in runs]}"
        return {run.name: run for run in runs}

    def history(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Return every stored (step, value) of a metric."""
        import mlflow

        client = mlflow.MlflowClient(default_tracking_uri(self.layout, self.uri))
        return [(point.step, point.value) for point in client.get_metric_history(run.id, metric)]

    def artifact(self, run: Run, name: str) -> Path:
        folder = self.layout.results / "downloaded" / run.id
        folder.mkdir(parents=True, exist_ok=True)
        return self.client().download(run.id, name, folder)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; copying it spares each test the migrations."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    TrackingClient(f"sqlite:///{path}").experiments()
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Backend:
    """The default database of a fresh results folder."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Backend("sqlite", Layout(tmp_path), None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[UiServer]:
    """One real MLflow server for the whole session."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    running = serve(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", port=0)
    yield running
    running.stop()


@pytest.fixture
def remote(tmp_path: Path, server: UiServer) -> Iterator[Backend]:
    """The session's server, with no study on it."""
    yield Backend("http", Layout(tmp_path), server.address)
    forget_everything(server.address)


@pytest.fixture
def faulty(tmp_path: Path, server: UiServer) -> Iterator[Backend]:
    """The session's server behind a proxy that lets every fourth request fail, in one way after another."""
    with between(server.address, every(4)) as proxy:
        proxy.retry_after = "0.1"
        yield Backend("faulty", Layout(tmp_path), proxy.address)
    forget_everything(server.address)


@pytest.fixture(scope="session", params=["sqlite", "http"])
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_database: Path, server: UiServer
) -> Backend:
    """Each place MLflow can be, after one whole study with everything in it; only to be read."""
    layout = Layout(tmp_path_factory.mktemp("played"))
    shutil.copy(empty_database, layout.mlflow_db)
    backend = Backend(request.param, layout, server.address if request.param == "http" else None, PLAYED)
    backend.study().study_file.parent.mkdir(parents=True)
    backend.study().study_file.write_text("name: played # as given\n")
    play(backend.open(), Script(PLAYED).whole(write_checkpoint(backend.study().trial(0))))
    return backend


@pytest.fixture(params=["database", "remote"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each place MLflow can be."""
    chosen: Backend = request.getfixturevalue(request.param)
    return chosen


def forget_everything(address: str) -> None:
    """Move the experiments out of the next test's way."""
    import mlflow

    client = mlflow.MlflowClient(address)
    for experiment in client.search_experiments():
        if experiment.experiment_id != "0" and experiment.name != PLAYED:
            client.rename_experiment(experiment.experiment_id, f"old {experiment.experiment_id}")
            client.delete_experiment(experiment.experiment_id)


class Forwarder:
    """Lets a port answer for a server that listens elsewhere."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        for client in self._clients():
            upstream = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def _clients(self) -> Iterator[socket.socket]:
        while True:
            try:
                yield self._listener.accept()[0]
            except OSError:
                return


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            end.close()

"""A results folder from somebody else: its files make no command read, write, send or run what is outside it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import ONLY_WEIGHTS, study
from earlier_results import OLD_PLACE, STUDY, unpack

from study.paths import CARD, SCORES, WEIGHTS, Layout, StudyLayout

pytestmark = pytest.mark.usefixtures("formats_checked_here")
# In two parts: a study stores what is changed in a checkout, which may be this line.
SECRET = "-----BEGIN OPENSSH " + "PRIVATE KEY-----"
Attack = Callable[[StudyLayout, Path], None]


@pytest.fixture
def received(tmp_path: Path) -> StudyLayout:
    return Layout(unpack(tmp_path / "received")).study(STUDY)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the reader has on the same machine."""
    folder = tmp_path / "home"
    (folder / "epoch-0002").mkdir(parents=True)
    for name in ("id_rsa", ".bashrc", "epoch-0002/notes.txt"):
        (folder / name).write_text(f"{SECRET} {name}\n")
    return folder


class Listener:
    """A server that somebody else would like to have files sent to; it keeps every byte."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.got = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.got += connection.recv(65_536) or b"connected"


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.socket.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def text_below(results: Path) -> bytes:
    """Return all that is in a results folder, its links not followed."""
    paths = [path for path in results.rglob("*") if path.is_file() and not path.is_symlink()]
    return b"".join(path.read_bytes() for path in paths)


def run(command: str, layout: StudyLayout, out: Path) -> subprocess.CompletedProcess[str]:
    more = (
        ["--out", out / "bundle", *ONLY_WEIGHTS] if command == "export-best" else ["--all"] if command == "sync" else []
    )
    return study(command, STUDY, *more, "--results", layout.results)


def name_a_key_as_picture(layout: StudyLayout, home: Path) -> None:
    text = re.sub(r'("path":")[^"]*', rf"\g<1>{home}/id_rsa", layout.outbox.read_text())
    layout.outbox.write_text(text)


def name_a_folder_as_checkpoint(layout: StudyLayout, home: Path) -> None:
    for file in (layout.outbox, layout.journal):
        file.write_text(re.sub(r'("checkpoint": ?")[^"]*', rf"\g<1>{home}/epoch-0002", file.read_text()))


def name_a_diff_outside(layout: StudyLayout, home: Path) -> None:
    up = "/../" * 20
    text = re.sub(r'("diff":)("[^"]*"|null)', rf'\g<1>"x{up}{home}/id_rsa"', layout.outbox.read_text())
    assert up in text
    layout.outbox.write_text(text)
    (layout.root / "code-x").mkdir()
    (home / "id_rsa.diff").write_text(SECRET)


def name_artifacts_outside(layout: StudyLayout, home: Path) -> None:
    with sqlite3.connect(layout.results / "mlflow.db") as database:
        database.execute("UPDATE runs SET artifact_uri = ?", (home.as_uri(),))
        database.execute("UPDATE logged_models SET artifact_location = ?", (home.as_uri(),))


def name_a_storage_outside(layout: StudyLayout, home: Path) -> None:
    layout.storage.write_text(json.dumps({"given": str(home), "root": f"{home}/x"}))
    name_a_folder_as_checkpoint(layout, home)


def link(name: str, target: str) -> Attack:
    def attack(layout: StudyLayout, home: Path) -> None:
        path = layout.root / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(home / target)

    return attack


def pipe(name: str) -> Attack:
    def attack(layout: StudyLayout, home: Path) -> None:
        path = layout.root / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return attack


def link_artifacts(layout: StudyLayout, home: Path) -> None:
    for folder in (layout.results / "mlartifacts" / STUDY).glob("*/artifacts"):
        shutil.rmtree(folder)
        folder.symlink_to(home)


def link_the_database(layout: StudyLayout, home: Path) -> None:
    shutil.move(layout.results / "mlflow.db", home / "own.db")
    (layout.results / "mlflow.db").symlink_to(home / "own.db")


SELECTED = "trials/00000/epoch-0002"
ATTACKS: dict[str, Attack] = {
    "picture": name_a_key_as_picture,
    "checkpoint": name_a_folder_as_checkpoint,
    "diff": name_a_diff_outside,
    "artifacts": name_artifacts_outside,
    "storage": name_a_storage_outside,
    "lock": link("driver.lock", ".bashrc"),
    "log": link("study.log", ".bashrc"),
    "file": link("study.yaml", "id_rsa"),
    "weights": link(f"{SELECTED}/{WEIGHTS}", "id_rsa"),
    "card": link(f"{SELECTED}/{CARD}", "id_rsa"),
    "folder": link(SELECTED, "epoch-0002"),
    "trials": link("trials", "."),
    "journal": link("ledger.journal", "id_rsa"),
    "error": link("trials/00000/error.txt", "id_rsa"),
    "linked artifacts": link_artifacts,
    "linked database": link_the_database,
    "journal pipe": pipe("ledger.journal"),
    "lock pipe": pipe("driver.lock"),
    "outbox pipe": pipe("outbox.jsonl"),
    "runs pipe": pipe("runs.json"),
    "card pipe": pipe(f"{SELECTED}/{CARD}"),
    "weights pipe": pipe(f"{SELECTED}/{WEIGHTS}"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_outside_is_touched(attack: str, received: StudyLayout, home: Path, tmp_path: Path) -> None:
    ATTACKS[attack](received, home)
    before = files_of(home)
    for command in ("show", "best", "export-best", "sync"):
        done = run(command, received, tmp_path)
        assert done.returncode in (0, 1)
        assert SECRET not in done.stdout + done.stderr
    assert files_of(home) == before
    assert SECRET.encode() not in text_below(received.results), "nothing is taken into the folder, or sent from it"
    assert not (tmp_path / "bundle" / "notes.txt").exists()


@pytest.mark.parametrize("attack", ["storage", "lock", "log", "file", "trials", "journal", "journal pipe", "card pipe"])
def test_it_is_not_resumed(attack: str, received: StudyLayout, home: Path, tmp_path: Path) -> None:
    ATTACKS[attack](received, home)
    before = files_of(home)
    done = run("resume", received, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert files_of(home) == before


@pytest.mark.parametrize("attack", ["artifacts", "linked artifacts", "linked database"])
def test_it_is_not_served(attack: str, received: StudyLayout, home: Path, tmp_path: Path) -> None:
    ATTACKS[attack](received, home)
    before = files_of(home)
    done = run("ui", received, tmp_path)
    assert done.returncode == 1
    assert "--tracking-uri" in done.stderr
    assert files_of(home) == before


@pytest.mark.parametrize("command", ["show", "best", "export-best", "sync", "resume", "ui"])
def test_a_server_that_only_the_folder_names_hears_nothing(
    command: str, received: StudyLayout, listener: Listener, tmp_path: Path
) -> None:
    body = json.loads(received.runs.read_text())
    received.runs.write_text(json.dumps({**body, "tracking_uri": listener.url}))
    done = run(command, received, tmp_path)
    if command in ("sync", "resume", "ui"):
        assert done.returncode == 1
        assert f"--tracking-uri {listener.url}" in done.stderr
    assert listener.got == b""


@pytest.mark.parametrize("stored", ["sqlite:///../../outside.db", "sqlite:///x/../../../outside.db"])
def test_a_database_path_does_not_lead_out(stored: str, received: StudyLayout, tmp_path: Path) -> None:
    outside = tmp_path / "received" / "outside.db"
    shutil.copy(received.results / "mlflow.db", outside)
    before = outside.read_bytes()
    body = json.loads(received.runs.read_text())
    received.runs.write_text(json.dumps({**body, "tracking_uri": stored}))
    run("sync", received, tmp_path)
    assert outside.read_bytes() == before


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", [WEIGHTS, SCORES, CARD, "../last.pt"])
def test_no_pickle_is_executed(name: str, received: StudyLayout, tmp_path: Path) -> None:
    file, mark = received.root / SELECTED / name, tmp_path / "executed"
    if name == SCORES:
        np.savez(
            file, scores=np.array([Bomb(str(mark))], dtype=object), labels=np.array([Bomb(str(mark))], dtype=object)
        )
    else:
        file.write_bytes(pickle.dumps(Bomb(str(mark))))
    for command in ("show", "best", "export-best", "sync"):
        run(command, received, tmp_path)
    assert not mark.exists()


def test_a_received_folder_that_is_honest_works(received: StudyLayout, tmp_path: Path) -> None:
    assert str(OLD_PLACE) in received.journal.read_text()
    for command in ("show", "best", "export-best", "sync"):
        done = run(command, received, tmp_path)
        assert done.returncode == 0, done.stderr

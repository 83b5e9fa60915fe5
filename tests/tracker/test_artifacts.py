"""Artifacts of a run: written in place where its folder can be reached, uploaded in few requests where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.errors import TrackingError
from tracking.client.artifacts import store_diff, store_text
from tracking.client.client import Run
from tracking.client.errors import RefusedError
from tracking.moved_database import artifact_folder


class FakeDoor:
    """A client that keeps the texts it is given."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def log_text(self, run_id: str, name: str, text: str) -> None:
        self.texts[name] = text

    def local_path(self, location: str, name: str = "") -> Path | None:
        return artifact_folder("http://localhost:5000", location, name)


def _run(artifact_uri: str) -> Run:
    return Run("r", "trial 0000", "1", "RUNNING", artifact_uri, {}, {}, {}, 0, None)


FAR = _run("mlflow-artifacts:/1/r/artifacts")


def test_text_is_written_in_place_and_left_alone_when_it_is_there(tmp_path: Path) -> None:
    client = FakeDoor()
    for _ in range(2):
        store_text(client, _run((tmp_path / "a").as_uri()), "Größe \udc80", "config.json")  # type: ignore[arg-type]
        kept = (tmp_path / "a" / "config.json").stat()
    assert (tmp_path / "a" / "config.json").read_text() == "Größe \\udc80"
    store_text(client, _run((tmp_path / "a").as_uri()), "Größe \udc80", "config.json")  # type: ignore[arg-type]
    assert (tmp_path / "a" / "config.json").stat().st_mtime_ns == kept.st_mtime_ns
    store_text(client, _run((tmp_path / "a").as_uri()), "other", "config.json")  # type: ignore[arg-type]
    assert (tmp_path / "a" / "config.json").read_text() == "other"
    assert client.texts == {}
    store_text(client, FAR, "far", "config.json")  # type: ignore[arg-type]
    assert client.texts == {"config.json": "far"}


def test_text_that_cannot_be_written_is_sent_later(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(TrackingError, match=r"artifact config\.json of run r cannot be written"):
        store_text(FakeDoor(), _run((tmp_path / "a").as_uri()), "x", "config.json")  # type: ignore[arg-type]


def test_diff_is_linked_near_and_cut_far(tmp_path: Path) -> None:
    diff, client = tmp_path / "code-0.diff", FakeDoor()
    with pytest.raises(RefusedError, match="is not there"):
        store_diff(client, FAR, diff)  # type: ignore[arg-type]
    diff.write_bytes(b"caf\xe9\n")
    store_diff(client, FAR, diff)  # type: ignore[arg-type]
    assert client.texts == {"code.diff": "caf\ufffd\n"}
    diff.write_text("x" * 100_000)
    store_diff(client, FAR, diff)  # type: ignore[arg-type]
    assert client.texts["code.diff"] == "x" * 65_536 + "\n# cut here: the study's run has all of it as code-0.diff\n"
    store_diff(client, _run((tmp_path / "a").as_uri()), diff)  # type: ignore[arg-type]
    assert os.path.samefile(tmp_path / "a" / "code.diff", diff)

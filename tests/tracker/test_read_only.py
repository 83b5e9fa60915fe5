"""Reading a database never writes it, and the commands that messages print work when they are pasted into a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import study_error
from recorders import Script, play
from tracking_backends import Backend

from study.errors import TrackingError
from tracking.client.client import TrackingClient
from tracking.client.preflight import preflight
from tracking.reader import queries

READ = [("list",), ("show", "faces"), ("compare", "faces"), ("best", "faces"), ("show", "faces/0")]


def _paste(message: str) -> None:
    """Run the command that a message names in backquotes."""
    (command,) = re.findall(r"`((?:cp|MLFLOW_TRACKING_URI=).*?)`", message)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=120, env={**os.environ, "PATH": path})


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A database as MLflow made it a dozen changes of its schema ago."""
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path, spec = tmp_path / "it's old.db", find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent / "store/db_migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, [*ScriptDirectory.from_config(config).walk_revisions()][12].revision)
        connection.exec_driver_sql(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (0, 'Default', 'active')"
        )
    engine.dispose()
    return path


def test_an_older_database_is_left_as_it_is_and_the_command_upgrades_a_copy_of_which_is_kept(older: Path) -> None:
    before, uri = older.read_bytes(), f"sqlite:///{older}"
    for command in (*READ[:2], ("sync",)):
        done = study_error(*command, "--tracking-uri", uri, "--results", older.parent)
        assert ("is older" in done) == (command != ("sync",)), done
    with pytest.raises(TrackingError, match="is older") as to_write:
        TrackingClient(uri)
    assert older.read_bytes() == before
    assert [path.name for path in older.parent.iterdir()] == [older.name]
    _paste(str(to_write.value))
    (copy,) = set(older.parent.iterdir()) - {older}
    assert copy.read_bytes() == before
    assert queries.studies(uri) == []


@pytest.mark.parametrize("command", READ, ids=" ".join)
def test_a_database_that_is_not_there_is_not_made_by_reading(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = study_error(*command, "--tracking-uri", f"sqlite:///{tmp_path}/typo.db", "--results", tmp_path)
    assert done.startswith("error: A tracking database must exist to be read, but sqlite:///"), done
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_not_filled_by_reading(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(TrackingError, match=r"must exist to be read, but .* has nothing in it"):
        queries.studies(f"sqlite:///{tmp_path}/empty.db")
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_database_in_a_folder_that_cannot_be_written_is_read(
    database: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.finish(0), script.end()])
    monkeypatch.chdir(tmp_path)
    before, names = database.layout.mlflow_db.read_bytes(), set(tmp_path.rglob("*"))
    reader = TrackingClient(f"sqlite:///{database.layout.mlflow_db}", read_only=True)
    with pytest.raises(TrackingError, match="readonly"):
        reader.create_run("1", "trial", 0, {})
    (summary,) = queries.studies("sqlite:///mlflow.db")
    assert (summary.name, summary.complete) == ("faces", 1)
    assert queries.open_study("sqlite:///mlflow.db", "faces").record_of(database.runs()["trial 0000"]).value == 0.7
    assert database.layout.mlflow_db.read_bytes() == before
    assert set(tmp_path.rglob("*")) == names, "MLflow makes folders out of what it takes for a path"


def test_a_deleted_experiment_is_restored_by_the_command_that_is_printed(database: Backend) -> None:
    play(database.open(), [Script().start()])
    uri, client = f"sqlite:///{database.layout.mlflow_db}", database.client()
    client.api.delete_experiment(database.runs()["faces"].experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore") as deleted:
        preflight(database.layout, uri, "faces")
    _paste(str(deleted.value))
    assert preflight(database.layout, uri, "faces") is None

"""Libraries still have the private parts that CONTRIBUTING.md lists; those of Ray that are patched are tested apart."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path

import mlflow
import pytest
import ray
import uvicorn
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.utils import mlflow_tags as mlflow_names
from ray.tune.experiment import Trial
from uvicorn.protocols.http.h11_impl import H11Protocol

from tracking.client import database
from tracking.content import mlflow_tags
from tracking.models.logged_models import VERSIONS

RAY = f"written for ray 2.60, this is ray {ray.__version__}"
MLFLOW = f"written for mlflow 3.17, this is mlflow {mlflow.__version__}"


def test_tune_has_the_calls_for_its_developers() -> None:
    for method in ("should_recover", "get_error"):
        assert callable(getattr(Trial, method, None)), f"Trial.{method}; {RAY}"


def test_uvicorns_protocol_is_made_as_the_server_expects() -> None:
    parameters = list(inspect.signature(H11Protocol).parameters)
    written = f"written for uvicorn 0.54, this is uvicorn {uvicorn.__version__}"
    assert parameters[:3] == ["config", "server_state", "app_state"], written
    assert issubclass(H11Protocol, asyncio.Protocol), written


@pytest.mark.parametrize(
    ("ours", "name"),
    [(mlflow_tags.LOGGED_ARTIFACTS, "MLFLOW_LOGGED_ARTIFACTS"), (VERSIONS, "MLFLOW_MODEL_VERSIONS")],
)
def test_mlflow_has_the_tags(ours: str, name: str) -> None:
    assert ours == getattr(mlflow_names, name, None), f"the tag {name}; {MLFLOW}"


@pytest.mark.parametrize("tag", [mlflow_tags.VIEW_PREFIX, *mlflow_tags.EXPERIMENT_TAGS])
def test_mlflows_pages_know_the_tags(tag: str) -> None:
    scripts = (Path(mlflow.__file__).parent / "server/js/build/static/js").glob("main.*.js")
    assert any(tag in script.read_text() for script in scripts), f"the tag {tag} in MLflow's pages; {MLFLOW}"


def test_an_artifact_repository_deletes_single_files(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "card.json").write_text("{}")
    get_artifact_repository(tmp_path.as_uri()).delete_artifacts("model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"], f"delete_artifacts; {MLFLOW}"


def test_mlflow_keeps_its_schema_where_the_check_before_a_study_looks() -> None:
    assert SqlExperiment.__tablename__ == "experiments", MLFLOW
    assert {"name", "lifecycle_stage", "experiment_id"} <= set(SqlExperiment.__table__.columns.keys()), MLFLOW
    scripts = (Path(mlflow.__file__).parent / "store/db_migrations/versions").glob("[0-9a-f]*.py")
    revisions = [database._REVISION.findall(script.read_text()) for script in scripts]
    assert len(revisions) > 50, MLFLOW
    assert all(dict(assigned).get("revision") for assigned in revisions), MLFLOW
    assert re.fullmatch(r"\w+", dict(revisions[0])["revision"])

"""Scores of the test images reach MLflow once; weights that were not kept are named as such."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from recorders import Script, play
from tracking_backends import Backend

from cli.queries.final_look import _send_to_mlflow, weights_folder
from study.errors import ExportError
from study.events import FinalLookTaken
from study.paths import Layout
from study.records import FinalLook, TrialRecord, TrialState
from tracking.exporter.sync import sync
from tracking.outbox.outbox import read_lines
from tracking.run_ids import Runs, save_runs
from tracking.tracking_uri import mask_uri

LOOK = FinalLook(0, 2, "val_auc", 1_700_000_000.0, {"auc": 0.75})


def told(backend: Backend) -> list[FinalLook]:
    events = [line.event for line in read_lines(backend.study().outbox)]
    return [event.look for event in events if isinstance(event, FinalLookTaken)]


def test_a_look_is_told_once(database: Backend) -> None:
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.finish(0), script.end()])
    study = SimpleNamespace(name="faces", layout=database.study())
    for _ in range(2):  # the second time somebody asks again for what the storage knows
        _send_to_mlflow(database.layout.results, study, LOOK)  # type: ignore[arg-type]
    assert told(database) == [LOOK]
    assert database.runs()["trial 0000"].metrics["test.auc"] == 0.75


def test_a_look_waits_for_the_password_of_its_server(
    database: Backend, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.finish(0), script.end()])
    save_runs(database.study().runs, Runs(mask_uri("http://ann:secret@127.0.0.1:9"), "1", "abc"))
    study = SimpleNamespace(name="faces", layout=database.study())
    _send_to_mlflow(database.layout.results, study, LOOK)  # type: ignore[arg-type]
    assert "wait for `study sync faces --results" in capsys.readouterr().err
    assert told(database) == [LOOK]
    sync(database.layout, database.study(), database.uri)
    assert database.runs()["trial 0000"].metrics["test.auc"] == 0.75


def test_a_study_that_mlflow_never_heard_of_tells_nothing(database: Backend) -> None:
    study = SimpleNamespace(name="faces", layout=database.study())
    _send_to_mlflow(database.layout.results, study, LOOK)  # type: ignore[arg-type]
    assert not database.study().outbox.exists()


def record(folder: Path, *, kept: bool, run_id: str | None = "ab12") -> TrialRecord:
    return TrialRecord("faces", 7, TrialState.COMPLETE, {}, {}, checkpoint=str(folder), kept=kept, run_id=run_id)


@pytest.mark.parametrize("run_id", ["ab12", None])
def test_weights_that_were_not_kept_can_be_made_again(tmp_path: Path, run_id: str | None) -> None:
    study = SimpleNamespace(layout=Layout(tmp_path / "results").study("faces"))
    with pytest.raises(ExportError, match=r"trial 7 of `faces` were deleted") as refused:
        weights_folder(study, record(tmp_path, kept=False, run_id=run_id))  # type: ignore[arg-type]
    assert f"`study rerun faces/7 --results {tmp_path}/results --save DIR` makes them again" in str(refused.value)
    assert "`keep: {per_study: all}`" in str(refused.value)

"""Reading back: what MLflow remembers becomes records again, in the server's order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from recorders import Script, play
from tracking_backends import Backend

from study.config.search_config import Mode
from study.errors import StudyError, TrackingError
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState
from tracking.reader import queries as query
from tracking.reader import study as served
from tracking.tracking_uri import default_tracking_uri
from tracking.ui.server import UiServer, serve


@pytest.fixture
def uri(played: Backend) -> str:
    return default_tracking_uri(played.layout, played.uri)


def test_studies_are_summed_up(uri: str) -> None:
    (summary,) = [study for study in query.studies(uri) if study.name == "played"]
    assert (summary.state, summary.planned, summary.metric, summary.mode) == ("finished", 4, "val_auc", "max")
    assert (summary.trials, summary.complete, summary.pruned, summary.failed, summary.running) == (4, 2, 1, 1, 0)
    assert summary.best == pytest.approx(0.73)
    assert summary.created_at_s == Script().start().at_s


def _trials(uri: str, metric: str | None = None, mode: Mode = "max", limit: int | None = None) -> list[TrialRecord]:
    return list(query.open_study(uri, "played").trials(metric, mode, limit=limit))


def test_trials_come_in_the_servers_order_and_no_more_than_asked(uri: str) -> None:
    assert [row.trial for row in _trials(uri, "val_auc")] == [3, 1, 0, 2]
    assert [row.trial for row in _trials(uri, "val_auc", "min")] == [0, 1, 3, 2]
    assert [row.trial for row in _trials(uri, "val_auc", limit=2)] == [3, 1]
    assert [row.trial for row in _trials(uri)] == [0, 1, 2, 3]


def test_trials_that_began_in_the_same_millisecond_come_by_number(uri: str) -> None:
    study = query.open_study(uri, "played")
    runs = [replace(run, start_ms=7) for run in study._reader.search([study.parent.experiment_id], study._of_parent)]
    shuffled = MagicMock(search=lambda *asked: iter(sorted(runs, key=lambda run: run.name, reverse=True)))
    assert [row.trial for row in served.ServedStudy(shuffled, study.parent).trials()] == [0, 1, 2, 3]


def test_records_come_back_as_they_were(uri: str, played: Backend) -> None:
    first, pruned, failed, _ = _trials(uri)
    script = Script("played")
    told = script.finish(0).record
    assert first.params == told.params
    assert first.config == {name: value for name, value in told.config.items() if value is not None}
    assert (first.value, first.epoch, first.epochs_run, first.seed) == (told.value, 2, 2, 7)
    assert first.metrics == told.metrics
    assert first.run_id == played.runs()["trial 0000"].id
    assert [record.state for record in (first, pruned, failed)] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED,
    ]  # fmt: skip
    assert failed.stop_reason is StopReason.ERROR
    assert failed.value is None


def test_a_record_says_where_its_checkpoint_is(uri: str) -> None:
    first, pruned, *_ = _trials(uri)
    assert pruned.checkpoint is None
    assert first.checkpoint is not None
    assert first.checkpoint == f"runs:/{first.run_id}/checkpoint" or Path(first.checkpoint).is_dir()


def test_interrupted_trials_wait(database: Backend) -> None:
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.end(StudyOutcome.INTERRUPTED)])
    uri = default_tracking_uri(database.layout, None)
    assert [record.state for record in query.open_study(uri, "faces").trials()] == [TrialState.WAITING]
    assert query.studies(uri)[0].state == "interrupted"


def test_running_study_counts_its_running_trials(database: Backend) -> None:
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.begin(1), script.finish(0)])
    (summary,) = query.studies(default_tracking_uri(database.layout, None))
    assert (summary.state, summary.running, summary.complete, summary.trials) == ("running", 1, 1, 2)


def test_unknown_study_lists_what_there_is(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"'nope' is not; there are: .*played"):
        query.open_study(uri, "nope")


def test_dead_server_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9 cannot list experiments"):
        query.studies("http://127.0.0.1:9")


@pytest.mark.parametrize("text", ["1e-05", "True", "7", "0.25", "sgd", "1_0", "007", "1e5", "nan?"])
def test_scalars_survive_as_text(text: str) -> None:
    value = served._scalar(text)
    assert str(value) == text


def test_taken_port_is_said_with_the_way_out(server: UiServer, tmp_path: Path) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(StudyError, match=rf"127\.0\.0\.1:{port} is not .*choose another --port"):
        serve(f"sqlite:///{tmp_path}/x.db", tmp_path, port=port)


def test_server_needs_no_serving(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"http://ann:\*\*\*@host is a server"):
        serve("http://ann:s3cret@host", tmp_path)


def test_server_that_cannot_start_shows_why(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="ended with status"):
        serve("nonsense://x:s3cret@y", tmp_path, port=0)

"""The tracker's small parts, without a database: addresses, words, the background thread, imports."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import Script

from study.config.search_config import Objective
from study.config.study_config import StudySpec
from study.errors import TrackingError
from study.events import TrialFinished
from study.paths import Layout, StudyLayout
from study.records import TrialState
from tracking.content import tags_and_metrics as content
from tracking.content.encoding import plain_name, safe_name
from tracking.content.run_names import study_key, trial_key
from tracking.content.ui_views import RANKING, study_views, view_path
from tracking.exporter.outbox_sender import ExporterThread
from tracking.outbox.provenance import collect_provenance
from tracking.outbox.study_state import StudyProgress
from tracking.run_ids import Runs, load_runs, point_to, save_runs, tracking_uri_of
from tracking.tracking_uri import (
    artifact_location,
    default_tracking_uri,
    local_path,
    mask_text,
    mask_uri,
    own_tracking_uri,
)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("http://ann:s3cret@host:5000/x", "http://ann:***@host:5000/x"),
        ("postgresql+psycopg2://ann:p@ss@host/db", "postgresql+psycopg2://ann:***@host/db"),
        ("mysql://ann@host/db?password=s3cret&ssl=1", "mysql://ann@host/db?password=***&ssl=1"),
        ("mysql://ann@host/db?password=a%2Fb", "mysql://ann@host/db?password=***"),
        ("postgresql+psycopg2://ann:2024/xyz@host/db", "postgresql+psycopg2://ann:***@host/db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("http://t0ken:@host", "http://***:@host"),
        ("http://[::1:5000", "http://[::1:5000"),
        ("http://ann:pa[ss@host", "http://ann:***@host"),
    ],
)
def test_secrets_of_a_uri_are_masked(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown
    assert mask_text(f"cannot connect to {uri}", uri) == f"cannot connect to {shown}"


def test_a_secret_is_masked_in_the_words_of_others_too() -> None:
    assert mask_text("user ann, password p/w refused", "http://ann:p%2Fw@host") == "user ann, password *** refused"


@pytest.mark.parametrize("quoted", ["pa%5Ess", "pa^ss", "pa%5ess"])
def test_a_password_is_masked_however_a_library_quotes_it(quoted: str) -> None:
    said = mask_text(f"413 for url: http://ann:{quoted}@host/api", "http://ann:pa^ss@host")
    assert said == "413 for url: http://ann:***@host/api"


def test_explicit_uri_goes_before_environment_before_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_tracking_uri(layout, None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://env")
    assert default_tracking_uri(layout, None) == "http://env"
    assert default_tracking_uri(layout, "http://explicit") == "http://explicit"


def test_artifacts_of_a_sqlite_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "a b#c")
    place = artifact_location(own_tracking_uri(layout), "x/ü")
    assert place is not None
    assert local_path(place) == layout.mlflow_artifacts / "x%2F%C3%BC"
    monkeypatch.chdir(tmp_path)
    assert artifact_location("sqlite:///own.db?timeout=9", "x") == (tmp_path / "mlartifacts" / "x").as_uri()
    assert artifact_location("http://host", "x") is None
    assert artifact_location("sqlite:///:memory:", "x") is None
    with pytest.raises(TrackingError, match="no '\\?' in its path"):
        own_tracking_uri(Layout(tmp_path / "a?b"))


def test_remote_artifacts_have_no_local_path() -> None:
    assert local_path("mlflow-artifacts:/1/x") is None
    assert local_path("s3://bucket/x") is None
    assert local_path("/plain/path") == Path("/plain/path")


def test_keys_that_filters_cannot_quote_are_hashed() -> None:
    assert trial_key("a-b.c_1", 3) == "a-b.c_1/3"
    hashed = study_key('it\'s "odd"')
    assert len(hashed) == 64
    assert hashed != study_key("it's odd")


def test_searched_params_come_first_and_none_is_left_out() -> None:
    record = Script().record(1)
    turned = replace(record, config=dict(reversed(list(record.config.items()))))
    params = content.trial_params(turned)
    assert list(params)[:2] == ["optimizer", "learning_rate"]
    assert "momentum" not in params


def test_the_running_best_is_any_trial_with_a_checkpoint_but_never_a_failed_one() -> None:
    from tracking.outbox.outbox import Line

    script, progress = Script(), StudyProgress()
    lost = replace(script.finish(8, TrialState.FAILED).record, value=0.99)
    failed = TrialFinished(lost, script.tick())
    events = [script.start(), script.finish(0), script.finish(7, TrialState.PRUNED), failed]
    for number, event in enumerate(events):
        progress.update(Line(number, event, None, 0))
    assert progress.best_value == progress.finished[7].value


def test_runs_survive_a_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    assert load_runs(path) is None
    runs = Runs("http://ann:***@host", "1", "abc", {0: "d", 10: "e"})
    save_runs(path, runs)
    assert load_runs(path) == runs
    path.write_text("[]")
    assert load_runs(path) is None


def test_provenance_of_a_repository_and_of_a_bare_folder(tmp_path: Path) -> None:
    bare = collect_provenance(tmp_path)
    assert (bare.commit, bare.dirty) == (None, None)
    assert "mlflow" in bare.packages
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    clean = collect_provenance(tmp_path)
    assert clean.commit is not None
    assert (len(clean.commit), clean.dirty) == (40, False)
    (tmp_path / "file").write_text("2")
    assert collect_provenance(tmp_path).dirty is True


def test_views_show_searched_params_and_the_best_metric() -> None:
    spec = Script().spec()
    ranking = _view(spec)
    assert "params.`learning_rate`" in ranking["selectedColumns"]
    assert (ranking["orderByKey"], ranking["orderByAsc"]) == ("metrics.`best.val_auc`", False)
    low = spec.model_copy(update={"objective": Objective(metric="val_recall.a|b", mode="min")})
    assert (_view(low)["orderByKey"], _view(low)["orderByAsc"]) == ("metrics.`best.val_recall.a_u7c_b`", True)
    assert view_path("7").startswith("/#/experiments/7/runs?workflowType=machine_learning")


def _view(spec: StudySpec) -> dict[str, object]:
    state = json.loads(study_views(spec)[f"mlflow.sharedViewState.{RANKING}"])["state"]
    view: dict[str, object] = json.loads(zlib.decompress(base64.b64decode(state.removeprefix("deflate;"))))
    return view


HOSTILE = [
    "val_recall.größe", "val_recall.gro\u0308ße", "val_recall.mask (blue), 100%", "a:b", "🙂", "../x", "a//b", "..",
    ".", "/", "a/", "a/b", "_u28_", "val__u28_", "a\udc80b", "x\n", "a_u110000f_", "a`b'c\"d", "日本", "हिन्दी",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_becomes_one_that_mlflow_takes_and_back(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    safe = safe_name(name)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(safe)
    assert plain_name(safe) == name


def test_names_stay_apart_and_most_stay_as_they_are() -> None:
    assert len({safe_name(name) for name in HOSTILE}) == len(HOSTILE)
    assert [safe_name(name) for name in ("best.val_auc", "shifted.my set.recall.größe")] == [
        "best.val_auc", "shifted.my set.recall.größe",
    ]  # fmt: skip
    long = [safe_name("x" * 300 + end) for end in "ab"]
    assert [len(name) for name in long] == [250, 250]
    assert long[0] != long[1]


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    modules = (
        "exporter.recorder",
        "exporter.sync",
        "exporter.exporter_process",
        "reader.queries",
        "ui.server",
        "models.model_registry",
    )
    program = (
        f"import sys; import {', '.join(f'tracking.{module}' for module in modules)}; print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class FakeReader:
    """A drain that does what a list of outcomes says, then succeeds."""

    def __init__(self, *outcomes: Exception | None, gate: threading.Event | None = None) -> None:
        self.outcomes = list(outcomes)
        self.gate = gate
        self.runs = self.sent = self.answers = 0
        self.closed = threading.Event()

    def run(self, is_cancelled: object) -> int:
        self.runs += 1
        if self.gate:
            self.gate.wait()
        if self.outcomes and (fault := self.outcomes.pop(0)) is not None:
            raise fault
        return 0

    def close(self) -> None:
        self.closed.set()


def _writer(drain: FakeReader) -> ExporterThread:
    writer = ExporterThread(drain, "somewhere")  # type: ignore[arg-type]
    writer.start()
    return writer


def test_short_hiccup_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    drain = FakeReader(TrackingError("locked"))
    writer = _writer(drain)
    while drain.runs < 2:
        time.sleep(0.02)
    assert writer.close(300.0)
    assert drain.closed.wait(300.0)
    assert caplog.text == ""


def test_bug_of_the_tracker_stays_in_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    drain = FakeReader(ValueError("a bug"))
    writer = _writer(drain)
    assert drain.closed.wait(300.0)
    writer.wake()
    assert not writer.close(300.0)
    assert "a bug" in caplog.text
    assert "the events stay in the outbox" in caplog.text


def test_close_gives_up_after_its_time() -> None:
    gate = threading.Event()
    drain = FakeReader(gate=gate)
    writer = _writer(drain)
    assert not writer.close(0.1)
    gate.set()
    assert drain.closed.wait(300.0)


def test_what_arrives_just_before_close_is_still_sent() -> None:
    drain = FakeReader()
    writer = _writer(drain)
    while drain.runs < 1:
        time.sleep(0.01)
    writer.wake()
    assert writer.close(300.0)
    assert drain.runs >= 2


def test_idle_writer_sleeps() -> None:
    drain = FakeReader()
    writer = _writer(drain)
    writer.wake()
    while drain.runs < 1:
        time.sleep(0.01)
    time.sleep(0.5)
    assert drain.runs <= 2
    writer.close(300.0)


def test_a_study_goes_on_at_the_server_its_runs_are_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = StudyLayout(tmp_path)
    assert tracking_uri_of(study, None) is None
    save_runs(study.runs, Runs("http://server:5000"))
    with pytest.raises(TrackingError, match="--tracking-uri http://server:5000"):
        tracking_uri_of(study, None)  # only the folder names it, which may be somebody else's
    point_to(study.runs, "http://server:5000")
    assert tracking_uri_of(study, None) == "http://server:5000"
    assert tracking_uri_of(study, "http://other") == "http://other"
    save_runs(study.runs, Runs(f"sqlite:///{tmp_path / 'gone.db'}"))
    assert tracking_uri_of(study, None) is None
    secret = "http://me:word@server:5000"
    save_runs(study.runs, Runs(mask_uri(secret)))
    with pytest.raises(TrackingError, match="--tracking-uri"):
        tracking_uri_of(study, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    assert tracking_uri_of(study, None) == secret

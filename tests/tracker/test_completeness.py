"""What MLflow tells of a study is all of it: code, configuration, names, the story in mid-study, the leaderboard."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from recorders import Script, write_checkpoint
from tracking_backends import Backend

from study.events import Event, FinalLookTaken
from study.records import FinalLook, StudyOutcome, TrialState
from tracking.client.client import Run
from tracking.content.encoding import plain_name
from tracking.content.run_names import study_key, trial_key
from tracking.exporter.outbox_sender import OutboxReader
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox
from tracking.outbox.provenance import Provenance, collect_provenance
from tracking.tracking_uri import default_tracking_uri

NOTE = "mlflow.note.content"


def send(backend: Backend, events: Sequence[Event], origin: Provenance | None = None) -> None:
    """Write events and send them, as one driver does after the other."""
    outbox = Outbox(backend.study().outbox)
    for event in events:
        outbox.append(event, origin)
    outbox.close()
    drain = OutboxReader(backend.study(), default_tracking_uri(backend.layout, backend.uri))
    drain.run()
    drain.close()


def origin(**changes: Any) -> Provenance:
    return replace(Provenance("c" * 40, False, "host", "ann", "3.11", "Linux", {"torch": "2"}), **changes)


def stored(backend: Backend, run: Run, name: str) -> str:
    return backend.artifact(run, name).read_text(encoding="utf-8")


def test_description_is_rewritten_in_mid_study_and_links_to_runs_that_exist(backend: Backend) -> None:
    script, checkpoint = Script(), write_checkpoint(backend.study().trial(0))
    send(backend, [script.start(), *(script.begin(n) for n in range(3))])
    runs = backend.runs()
    assert "0 of 4 trials ended" in runs["faces"].tags[NOTE]
    assert {run.status for run in runs.values()} == {"RUNNING"}
    told = []
    for trial in (0, 1):
        send(backend, [script.report(trial, 1), script.finish(trial, checkpoint=checkpoint)])
        told.append(backend.runs()["faces"].tags[NOTE])
    assert ["1 of 4" in told[0], "2 of 4" in told[1]] == [True, True]
    assert "2 running" in told[0]
    experiment = runs["faces"].experiment_id
    best = f"[trial 1](#/experiments/{experiment}/runs/{runs['trial 0001'].id})"
    assert best in told[1]
    assert best not in told[0]
    linked = set(re.findall(r"\(#/experiments/\d+/runs/(\w+)\)", told[1]))
    assert linked == {runs["trial 0000"].id, runs["trial 0001"].id}


def test_description_is_left_alone_where_nothing_ended(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script, written = Script(), []
    send(database, [script.start(), script.begin(0)])
    from tracking.exporter import study_run as parent_run

    monkeypatch.setattr(parent_run, "description", lambda *_: written.append(1) or "x")
    send(database, [script.report(0, 1), script.begin(1), script.report(0, 2)])
    assert not written
    send(database, [script.finish(0), script.finish(1)])
    assert len(written) == 1, "once for all that was sent together"


def test_leaderboard_is_a_table_of_the_parent_and_follows_a_resume(backend: Backend) -> None:
    script, checkpoint = Script(), write_checkpoint(backend.study().trial(0))
    ends = [script.finish(n, checkpoint=checkpoint) for n in (0, 1)]
    send(backend, [script.start(), *ends, script.begin(2), script.end(StudyOutcome.INTERRUPTED)])
    runs = backend.runs()
    assert json.loads(runs["faces"].tags["mlflow.loggedArtifacts"]) == [{"path": "leaderboard.json", "type": "table"}]
    table = json.loads(stored(backend, runs["faces"], "leaderboard.json"))
    told = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["rank"], row["trial"], row["state"]) for row in told] == [
        (1, 1, "COMPLETE"), (2, 0, "COMPLETE"), (None, 2, "INTERRUPTED"),
    ]  # fmt: skip
    assert [row["run_id"] for row in told] == [runs[f"trial 000{row['trial']}"].id for row in told]
    assert told[0]["optimizer"] == "adam"
    send(backend, [script.start(resumed=True), script.finish(2, checkpoint=checkpoint), script.end()])
    text = stored(backend, backend.runs()["faces"], "leaderboard.csv")
    assert [line.split(",")[:2] for line in text.splitlines()] == [
        ["rank", "trial"], ["1", "2"], ["2", "1"], ["3", "0"],
    ]  # fmt: skip


def test_configuration_is_stored_whole_and_readable_without_mlflow(played: Backend) -> None:
    record = Script("played").record(1)
    told = json.loads(stored(played, played.runs()["trial 0001"], "config.json"))
    assert told["config"] == record.config
    assert list(told["config"]) == sorted(record.config)
    assert told["searched"] == record.params
    assert told["without_effect"] == ["momentum"]
    assert (told["trial"], told["point"], told["seed"]) == (1, 1, 7)


def test_runs_tell_of_design_device_data_and_packages(played: Backend) -> None:
    import mlflow

    client = mlflow.MlflowClient(played.uri or f"sqlite:///{played.layout.mlflow_db}")
    for run in played.runs().values():
        told = {key.removeprefix("study."): run.tags[key] for key in ("study.design", "study.device", "study.name")}
        assert told == {"design": "search", "device": "cpu", "name": "played"}
        assert re.search(r"\bmlflow 3\.\S+, torch \d", run.tags["study.packages"])
        (data,) = client.get_run(run.id).inputs.dataset_inputs
        assert data.dataset.digest == "f" * 36
    environment = json.loads(stored(played, played.runs()["played"], "environment.json"))
    assert "sqlalchemy" in environment["installed"]
    assert set(environment["packages"]) < set(environment["installed"])


def test_design_is_told_beside_the_study_file(database: Backend) -> None:
    script = Script()
    send(database, [replace(script.start(), design="# Design: grid\n\n| depth |\n"), script.end()])
    assert stored(database, database.runs()["faces"], "design.md") == "# Design: grid\n\n| depth |\n"


def repository(folder: Path) -> list[str]:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder)]
    folder.mkdir()
    (folder / "code.py").write_text("x = 1\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    return git


def test_diff_of_changed_code_is_that_of_git(backend: Backend, tmp_path: Path) -> None:
    git = repository(tmp_path / "code")
    clean = collect_provenance(tmp_path / "code", backend.study())
    assert (clean.dirty, clean.diff) == (False, None)
    (tmp_path / "code" / "code.py").write_text("x = 2\n")
    (tmp_path / "code" / "latin.txt").write_bytes(b"caf\xe9s\n")
    (tmp_path / "code" / "new.py").write_text("")
    subprocess.run([*git, "add", "code.py"], check=True)
    dirty = collect_provenance(tmp_path / "code", backend.study())
    wanted = subprocess.run([*git, "diff", "HEAD"], check=True, capture_output=True).stdout
    script = Script()
    send(backend, [script.start(), script.begin(0), script.end(StudyOutcome.INTERRUPTED)], clean)
    assert "study.code_diff" not in backend.runs()["trial 0000"].tags
    send(backend, [script.start(resumed=True), script.begin(0, 2), script.begin(1), script.end()], dirty)
    runs = backend.runs()
    assert dirty.code == f"{dirty.commit[:12] if dirty.commit else ''}+{dirty.diff}"
    whole = backend.artifact(runs["faces"], f"code-{dirty.diff}.diff").read_bytes()
    assert whole == b"# not in git: new.py\n" + wanted
    for name in ("trial 0000", "trial 0001"):
        assert runs[name].tags["study.code_diff"] == f"code-{dirty.diff}.diff"
        assert runs[name].tags["study.git_dirty"] == "true"
        assert backend.artifact(runs[name], "code.diff").read_bytes() == whole
    assert runs["trial 0000"].tags["study.code"] == f"{clean.code}, {dirty.code}", "it was run by both"
    assert runs["trial 0001"].tags["study.code"] == dirty.code


def test_long_diff_is_cut_with_a_word(tmp_path: Path, database: Backend) -> None:
    repository(tmp_path / "code")
    (tmp_path / "code" / "code.py").write_text("y = 1\n" * 300_000)
    provenance = collect_provenance(tmp_path / "code", database.study())
    assert provenance.diff is not None
    text = database.study().code_diff(provenance.diff).read_text()
    assert text.endswith("# cut here: the changes are longer than 1000000 bytes\n")
    assert len(text) < 1_001_000


def test_study_folder_that_lost_its_diff_sends_the_rest(database: Backend, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    send(database, [script.start(), script.begin(0), script.finish(0), script.end()], origin(dirty=True, diff="0" * 12))
    assert {run.status for run in database.runs().values()} == {"FINISHED"}
    assert "code-000000000000.diff is not there" in caplog.text


def test_outbox_of_former_days_is_read(database: Backend) -> None:
    script = Script()
    send(database, [script.start(), script.begin(0), script.end()], origin())
    text = database.study().outbox.read_text()
    assert '"diff":null,"installed":{}' in text
    old = re.sub(r',"diff":null,"installed":\{\}|,"design":""', "", text)
    assert old != text
    database.study().outbox.write_text(old)
    assert sync(database.layout, database.study(), everything=True).sent == 3
    assert database.runs()["faces"].tags["mlflow.source.git.commit"] == asdict(origin())["commit"]


CLASSES = ("größe", "mask (blue), 100%", "🙂", "gro\u0308ße", "a" * 240)


def test_classes_of_any_name_have_their_metrics(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tracking")
    script = Script()
    start = script.start()
    start = replace(start, data=replace(start.data, classes=CLASSES))
    values = {"val_auc": 0.5, **{f"val_recall.{name}": 0.1 * n for n, name in enumerate(CLASSES)}}
    end = script.finish(0)
    end = replace(end, record=replace(end.record, metrics=values))
    look = FinalLookTaken("faces", FinalLook(0, 2, "val_auc", script.tick(), {f"recall.{CLASSES[1]}": 0.25}))
    send(backend, [start, script.begin(0), script.report(0, 1, values), end, script.end(), look])
    runs = backend.runs()
    metrics = {plain_name(name): value for name, value in runs["trial 0000"].metrics.items()}
    for n, name in enumerate(CLASSES[:-1]):
        assert metrics[f"val_recall.{name}"] == pytest.approx(0.1 * n)
        assert metrics[f"best.val_recall.{name}"] == pytest.approx(0.1 * n)
    assert runs["trial 0000"].metrics["val_recall.größe"] == 0.0, "MLflow takes letters of any script"
    assert metrics[f"test.recall.{CLASSES[1]}"] == 0.25
    assert sum(name.startswith("best.val_recall.a") for name in metrics) == 1
    assert set(json.loads(runs["faces"].tags["study.renamed"]).values()) == set(CLASSES[1:4])
    assert "MLflow takes no such names in metrics as 'mask (blue), 100%'" in caplog.text


def test_what_no_database_takes_is_written_as_an_escape_and_long_tags_are_cut_with_a_word(
    database: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    start = replace(script.start(), notices=("n" * 9000,))
    begin = script.begin(0)
    config = {**begin.record.config, "init": "checkpoint:\udc80\0.pt"}
    send(database, [start, replace(begin, record=replace(begin.record, config=config)), script.end()])
    runs = database.runs()
    assert runs["trial 0000"].params["init"] == "checkpoint:\\udc80\\x00.pt"
    assert runs["faces"].tags["study.notices"].endswith("(cut, 9000 characters)")
    assert len(runs["faces"].tags["study.notices"]) == 8000
    assert "at most 8000 characters of a tag, study.notices has 9000 and was cut" in caplog.text


def test_runs_an_outage_made_twice_do_not_stay_running(database: Backend) -> None:
    script = Script()
    send(database, [script.start(), script.begin(0), script.begin(1)])
    runs, client = database.runs(), database.client()
    experiment = runs["faces"].experiment_id
    tags = {"study.id": "id-1", "study.name": "faces"}
    child = {"study.key": trial_key("id-1", 0), "study.kind": "trial", "study.trial": "0"}
    parent = {"study.key": study_key("id-1"), "study.kind": "study"}
    late = client.create_run(experiment, "trial 0000", 1, tags | child | {"mlflow.parentRunId": runs["faces"].id})
    other = client.create_run(experiment, "faces", 1, tags | parent)
    stranger = client.create_run(experiment, "theirs", 1, tags | {"study.id": "id-2", "study.kind": "study"})
    send(database, [script.finish(0), script.end(StudyOutcome.INTERRUPTED)])
    by_id = {run.id: run for run in client.search([experiment], "")}
    states = {
        name: (by_id[run.id].status, by_id[run.id].tags.get("study.duplicate_of"), by_id[run.id].tags["study.kind"])
        for name, run in {**runs, "late": late, "other": other, "stranger": stranger}.items()
    }
    assert states == {
        "faces": ("KILLED", None, "study"),
        "trial 0000": ("FINISHED", None, "trial"),
        "trial 0001": ("KILLED", None, "trial"),
        "late": ("KILLED", runs["trial 0000"].id, "duplicate"),
        "other": ("KILLED", runs["faces"].id, "duplicate"),
        "stranger": ("RUNNING", None, "study"),
    }
    assert by_id[late.id].tags["mlflow.parentRunId"] == runs["trial 0000"].id


def _everything(backend: Backend) -> dict[str, object]:
    """Return runs with their metrics' histories and their artifacts, byte by byte."""
    everything: dict[str, object] = {}
    for name, run in backend.runs().items():
        files = backend.artifact(run, "")
        held = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        everything[name] = (run, {metric: sorted(backend.history(run, metric)) for metric in run.metrics}, held)
    return everything


def test_replay_changes_nothing_not_even_an_artifact(database: Backend, tmp_path: Path) -> None:
    repository(tmp_path / "code")
    (tmp_path / "code" / "code.py").write_text("x = 2\n")
    dirty = collect_provenance(tmp_path / "code", database.study())
    script, checkpoint = Script(), write_checkpoint(database.study().trial(0))
    send(database, [script.start(), script.begin(0), script.report(0, 1), script.end(StudyOutcome.INTERRUPTED)], dirty)
    events = [script.start(resumed=True), script.begin(0, 2), script.begin(1), script.finish(1, TrialState.FAILED)]
    send(database, [*events, script.finish(0, checkpoint=checkpoint), script.end()], origin())
    before = _everything(database)
    report = sync(database.layout, database.study(), everything=True)
    assert report.sent == 10
    assert _everything(database) == before

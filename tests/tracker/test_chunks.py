"""What is sent and when: only what is on disk, all of it in spite of moods, and what a power cut took once more."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from recorders import Script, play
from tracking_backends import Backend

from study.errors import TrackingError
from study.events import EpochReported, StudyStarted
from study.records import TrialState
from tracking.client.client import TrackingClient, split_batch
from tracking.client.errors import LostError, RefusedError
from tracking.content.tags_and_metrics import Batch, Point
from tracking.exporter import run_registry as registry
from tracking.exporter.outbox_sender import OutboxReader
from tracking.exporter.run_writer import TrialRunWriter
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox, read_lines
from tracking.outbox.provenance import collect_provenance
from tracking.tracking_uri import default_tracking_uri


def test_reports_only_the_storage_knows_are_caught_up_in_the_words_of_then(database: Backend) -> None:
    script = Script()
    told = [script.start(), script.begin(0), script.begin(1), script.report(0, 1)]
    lost = [script.report(1, 1), script.report(0, 2), script.report(1, 2)]
    running, ended = replace(script.record(0), epochs_run=2), script.finish(1).record
    said = {0: [told[3], lost[1]], 1: [lost[0], lost[2]]}
    play(database.open(), told)
    recorder = database.open()
    recorder.record(script.start(resumed=True))
    assert recorder.catch_up([running, ended], script.tick(), lambda trial: said[trial]) == 1
    play(recorder, [script.finish(0), script.end()])
    events = [line.event for line in read_lines(database.study().outbox)]
    assert [event for event in events if isinstance(event, EpochReported)] == [told[3], lost[1], lost[0], lost[2]]
    runs = database.runs()
    for trial in (0, 1):
        assert database.history(runs[f"trial {trial:04d}"], "train_loss") == [(1, 1.0), (2, 0.5)]


def test_caught_up_reports_bring_their_trial_if_the_outbox_lost_it(database: Backend) -> None:
    script = Script()
    recorder = database.open()
    recorder.record(script.start(resumed=True))
    said = [script.report(0, epoch) for epoch in (1, 2)]
    recorder.catch_up([replace(script.record(0), epochs_run=2)], script.tick(), lambda trial: said)
    recorder.close()
    assert database.history(database.runs()["trial 0000"], "train_loss") == [(1, 1.0), (2, 0.5)]


def test_a_trial_keeps_the_session_it_began_in_however_late_it_is_sent(database: Backend) -> None:
    script, here = Script(planned=2), replace(collect_provenance(), dirty=False, diff=None)
    outbox = Outbox(database.study().outbox)
    for events, commit in (
        ((script.start(), script.begin(0), script.finish(0)), "first"),
        ((script.start(resumed=True), script.begin(1), script.finish(1), script.end()), "second"),
    ):
        for event in events:
            outbox.append(event, replace(here, commit=commit) if isinstance(event, StudyStarted) else None)
    outbox.close()
    drain = OutboxReader(database.study(), default_tracking_uri(database.layout, None))
    drain.run()
    drain.close()
    commits = {name: run.tags["mlflow.source.git.commit"] for name, run in database.runs().items()}
    assert commits == {"faces": "second", "trial 0000": "first", "trial 0001": "second"}


def test_a_run_whose_last_words_are_not_there_is_not_ended(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script, send = Script(planned=1), TrackingClient.log_batch
    outbox = Outbox(database.study().outbox)
    for event in (script.start(), script.begin(0), script.finish(0), script.end()):
        outbox.append(event)
    outbox.close()

    def cut(client: TrackingClient, run_id: str, batch: Batch) -> None:
        if "study.stop_reason" in batch.tags:
            raise TrackingError("away")
        send(client, run_id, batch)

    drain = OutboxReader(database.study(), default_tracking_uri(database.layout, None))
    with monkeypatch.context() as patch:
        patch.setattr(TrackingClient, "log_batch", cut)
        with pytest.raises(TrackingError, match="away"):
            drain.run()
    assert {run.status for run in database.runs().values()} == {"RUNNING"}
    drain.run()
    drain.close()
    assert {run.status for run in database.runs().values()} == {"FINISHED"}


@pytest.mark.parametrize("place", ["ids", "traceback"])
def test_a_full_disk_in_the_middle_changes_nothing_of_what_is_told_then(
    database: Backend, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    script, faults = Script(planned=3), []
    here = replace(collect_provenance(), dirty=False, diff=None)
    outbox = Outbox(database.study().outbox)
    outbox.append(script.start(), replace(here, commit="first"))
    outbox.append(script.begin(0))
    drain = OutboxReader(database.study(), default_tracking_uri(database.layout, None))
    drain.run()
    outbox.append(script.start(resumed=True), replace(here, commit="second"))
    drain.run()
    for event in (script.begin(0, attempt=2), script.begin(1), *(script.finish(n, TrialState.FAILED) for n in (0, 1))):
        outbox.append(event)
    outbox.close()
    owner, name = (registry, "save_runs") if place == "ids" else (TrialRunWriter, "_traceback")
    calm = getattr(owner, name)

    def full_once(*args: object) -> object:
        if not faults:
            faults.append(OSError(28, "No space left on device"))
            raise faults[0]
        return calm(*args)

    monkeypatch.setattr(owner, name, full_once)
    with pytest.raises(OSError, match="No space left"):
        drain.run()
    drain.run()
    drain.close()
    runs = database.runs()
    told = database.history(runs["faces"], "trials.failed")
    assert sorted(set(told)) == [(1, 1.0), (2, 2.0)]
    assert runs["trial 0000"].tags["study.code"] == "first, second"


def test_nothing_is_sent_that_is_not_on_disk_for_good(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script, done = Script(), []
    outbox = Outbox(database.study().outbox, sync_every_s=math.inf)
    for event in (script.start(), script.begin(0), script.report(0, 1)):
        outbox.append(event)
    calm, fsync = TrackingClient.log_batch, os.fsync

    def synced(file: int) -> None:
        done.append(os.path.samestat(os.fstat(file), database.study().outbox.stat()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(
        TrackingClient, "log_batch", lambda client, run, batch: (done.append("sent"), calm(client, run, batch))
    )
    assert sync(database.layout, database.study()).sent == 3
    assert True in done[: done.index("sent")]
    outbox.close()


def test_a_server_that_refuses_now_and_then_gets_everything(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script, calm, calls = Script(planned=12), TrackingClient.log_batch, 0
    begun = [script.start(), *(script.begin(trial) for trial in range(12))]
    reports = [script.report(trial, epoch) for epoch in range(1, 10) for trial in range(12)]
    ends = [script.finish(trial, epochs=9) for trial in range(12)]

    def moody(client: TrackingClient, run_id: str, batch: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls % 9 == 0:
            raise TrackingError("429 Too Many Requests")
        calm(client, run_id, batch)

    monkeypatch.setattr(TrackingClient, "log_batch", moody)
    outbox = Outbox(database.study().outbox)
    for event in (*begun, *reports, *ends, script.end()):
        outbox.append(event)
    outbox.close()
    drain = OutboxReader(database.study(), default_tracking_uri(database.layout, None))
    while drain.pending():
        assert calls < 1000, "what came through must not be sent again and again"
        with suppress(TrackingError):
            drain.run()
    drain.close()
    runs = database.runs()
    assert {run.status for run in runs.values()} == {"FINISHED"}
    assert len(database.history(runs["trial 0011"], "train_loss")) == 9


@pytest.mark.parametrize(
    ("batch", "requests"),
    [
        (Batch(), 0),
        (Batch(tags={"a": ""}), 1),
        (Batch([Point("val_auc", 0.5, 1, n) for n in range(900)], {f"p{n}": "x" for n in range(100)}), 1),
        (Batch([Point("val_auc", 0.5, 1, n) for n in range(1001)]), 2),
        (Batch(params={f"p{n}": "x" for n in range(250)}, tags={f"t{n}": "x" for n in range(101)}), 4),
        (Batch([Point("ü" * 250, 0.5, 1, n) for n in range(700)]), 2),
        (Batch(params={f"p{n}": "中" * 6000 for n in range(50)}), 3),
    ],
    ids=["nothing", "tag", "usual", "points", "params and tags", "long names", "long values"],
)
def test_a_batch_is_cut_into_requests_that_mlflow_takes(batch: Batch, requests: int) -> None:
    parts = list(split_batch(batch))
    assert len(parts) == requests
    for part in parts:
        assert len(part.points) <= 1000
        assert max(len(part.params), len(part.tags)) <= 100
        assert len(part.points) + len(part.params) + len(part.tags) <= 1000
        points = [{"key": p.key, "value": p.value, "timestamp": p.time_ms, "step": p.step} for p in part.points]
        texts = [{"key": key, "value": value} for key, value in [*part.params.items(), *part.tags.items()]]
        assert len(json.dumps([points, texts])) < 1_000_000
    assert [point for part in parts for point in part.points] == batch.points
    assert {key: value for part in parts for key, value in part.params.items()} == batch.params
    assert {key: value for part in parts for key, value in part.tags.items()} == batch.tags


def test_what_is_written_for_a_server_is_what_mlflow_reads(remote: Backend) -> None:
    play(remote.open(), [Script().start(), Script().begin(0)])
    client, run = remote.client(), remote.runs()["trial 0000"]
    values = [0.1 + 0.2, 1e-300, -1e300, math.inf, -math.inf, math.nan]
    texts = {"ü": 'a"\\b\nü🙂', "plain": ""}
    client.log_batch(run.id, Batch([Point("odd", value, 7, n) for n, value in enumerate(values)], texts, texts))
    stored = [value for _, value in sorted(remote.history(run, "odd"))]
    assert stored[:3] == values[:3]
    assert stored[3:5] == pytest.approx([sys.float_info.max, -sys.float_info.max])  # sqlite has no infinity
    assert math.isnan(stored[5])
    after = remote.runs()["trial 0000"]
    assert texts.items() <= after.params.items()
    assert texts.items() <= after.tags.items()
    with pytest.raises(LostError, match="cannot log to run 0000"):
        client.log_batch("0" * 32, Batch(tags=texts))
    with pytest.raises(RefusedError):
        client.log_batch(run.id, Batch(params={"plain": "another value"}))

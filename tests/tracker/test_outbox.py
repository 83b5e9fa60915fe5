"""The outbox: what is written comes back whole, in order, and survives a torn end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import Script

from study.errors import TrackingError
from study.events import EpochReported, FinalLookTaken, PicturesDrawn, StudyEnded, StudyStarted, TrialFinished
from study.records import EpochMetrics, FinalLook
from tracking.outbox.outbox import (
    Outbox,
    Position,
    count_lines,
    load_position,
    read_lines,
    reported_epochs,
    save_position,
)
from tracking.outbox.provenance import Provenance
from tracking.outbox.study_state import fold

ORIGIN = Provenance("c0ffee", True, "host", "user", "3.11", "Linux", {"mlflow": "3"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studies" / "x" / "outbox.jsonl"


def test_every_event_comes_back_equal_and_numbered(path: Path) -> None:
    events = list(Script().whole(Path("checkpoint")))
    outbox = Outbox(path)
    assert [outbox.append(event) for event in events] == list(range(1, len(events) + 1))
    outbox.close()
    lines = list(read_lines(path))
    assert [line.event for line in lines] == events
    assert [line.number for line in lines] == list(range(1, len(events) + 1))
    assert lines[-1].end == path.stat().st_size


def test_non_finite_numbers_and_histories_survive(path: Path) -> None:
    finished = Script().finish(0)
    history = (EpochMetrics(1, {"val_auc": float("nan"), "val_loss": float("inf"), "train_loss": float("-inf")}),)
    outbox = Outbox(path)
    outbox.append(TrialFinished(replace(finished.record, history=history, value=float("nan")), 1.0))
    outbox.close()
    (line,) = read_lines(path)
    assert isinstance(line.event, TrialFinished)
    assert str(line.event.record.history) == str(history)
    assert line.event.record.value != line.event.record.value


@pytest.mark.parametrize("name", ["plain", "Größe 'x' 🙂", "no UTF-8 \udcff", 'a"\\b\n'])
def test_reports_come_back_with_any_number_and_any_name(path: Path, name: str) -> None:
    values = {"val_auc": 0.1 + 0.2, "big": 1e308, "tiny": 5e-324, "whole": 1e22, "inf": -math.inf, "ü.λ": 1 / 3}
    outbox = Outbox(path)
    events = [Script(name=name).report(7, epoch, values) for epoch in (1, 2)]
    nan = Script(name=name).report(7, 3, {"val_auc": math.nan})
    for event in (*events, nan):
        outbox.append(event)
    outbox.close()
    *lines, last = read_lines(path)
    stored = name.encode("utf-8", "backslashreplace").decode()
    assert [line.event for line in lines] == [replace(report, study=stored) for report in events]
    assert str(last.event) == str(replace(nan, study=stored))
    assert reported_epochs(path, {7}) == {7: {1, 2, 3}}


def test_provenance_travels_with_its_event(path: Path) -> None:
    outbox = Outbox(path)
    outbox.append(Script().start(), ORIGIN)
    outbox.append(Script().begin(0))
    outbox.close()
    assert [line.provenance for line in read_lines(path)] == [ORIGIN, None]


@pytest.mark.parametrize("torn", [b'{"n":3,"kind":"Tri', b"\x00\x00\x00", b"x" * 200_000])
def test_torn_last_line_is_cut_and_said(path: Path, torn: bytes, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    outbox = Outbox(path)
    outbox.append(script.start())
    outbox.append(script.begin(0))
    outbox.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(list(read_lines(path))) == 2
    outbox = Outbox(path)
    assert path.read_bytes() == whole
    assert f"cut a torn last line of {len(torn)} bytes" in caplog.text
    assert outbox.append(script.begin(1)) == 3
    outbox.close()
    assert [line.number for line in read_lines(path)] == [1, 2, 3]


def test_damaged_line_in_the_middle_is_skipped_and_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    outbox = Outbox(path)
    for event in (script.start(), script.begin(0), script.begin(1)):
        outbox.append(event)
    outbox.close()
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:20] + b"\n" + third)
    for _ in range(2):
        assert [line.number for line in read_lines(path)] == [1, 3]
    assert caplog.text.count("is damaged and was skipped") == 1


def test_long_last_line_is_found_whole(path: Path) -> None:
    script = Script()
    outbox = Outbox(path)
    outbox.append(script.start())
    outbox.append(replace(script.start(), study_file="y" * 300_000))
    outbox.close()
    outbox = Outbox(path)
    assert outbox.append(script.begin(0)) == 3
    outbox.close()


def test_full_disk_leaves_nothing_of_the_event(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    outbox = Outbox(path, sync_every_s=0.0)
    outbox.append(script.start())
    before = path.read_bytes()

    def refuse(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        with pytest.raises(TrackingError, match="No space left"):
            outbox.append(script.begin(0))
    assert path.read_bytes() == before
    assert outbox.append(script.begin(0)) == 2
    outbox.close()


@pytest.mark.parametrize(("sync_every_s", "synced"), [(0.0, [1, 2, 3, 4, 5]), (math.inf, [1, 5])])
def test_trials_need_not_be_synced_at_once_but_the_end_of_the_study_syncs_them(
    path: Path, monkeypatch: pytest.MonkeyPatch, sync_every_s: float, synced: list[int]
) -> None:
    script, syncs = Script(), []
    outbox = Outbox(path, sync_every_s=sync_every_s)
    monkeypatch.setattr("os.fsync", lambda file: syncs.append(count_lines(path)))
    for event in (script.start(), script.begin(0), script.report(0, 1), script.finish(0), script.end()):
        outbox.append(event)
    assert syncs == synced
    outbox.append(script.start(resumed=True))
    outbox.append(script.begin(1))
    assert syncs[len(synced) :] == ([6, 7] if not sync_every_s else [6])
    outbox.close()
    assert syncs[-1] == 7, "closing syncs what is left, once"
    assert len(syncs) == len({*syncs})


def test_what_the_storage_cannot_tell_again_is_synced_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, synced = Script(), []
    outbox = Outbox(path, sync_every_s=math.inf)
    monkeypatch.setattr("os.fsync", lambda file: synced.append(type(event)))
    page = PicturesDrawn("faces", 0, "/pictures.html", script.tick())
    look = FinalLookTaken("faces", FinalLook(0, 1, "val_auc", script.tick(), {"auc": 0.5}))
    whole = [script.start(), script.begin(0), script.report(0, 1), script.finish(0), page, look, script.end()]
    for event in whole:
        outbox.append(event)
    outbox.close()
    assert synced == [StudyStarted, PicturesDrawn, FinalLookTaken, StudyEnded]


def test_a_report_waits_for_its_sync_no_longer_than_it_may(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, syncs, now = Script(), [], [100.0]
    monkeypatch.setattr("tracking.outbox.outbox.time.monotonic", lambda: now[0])
    outbox = Outbox(path)
    outbox.append(script.start())
    monkeypatch.setattr("os.fsync", lambda file: syncs.append(now[0]))
    for epoch in range(1, 8):
        now[0] += 0.4
        outbox.append(script.report(0, epoch))
    outbox.close()
    assert syncs == pytest.approx([101.2, 102.4, 102.8])


def test_reports_are_found_by_trial_and_epoch_whatever_the_study_is_called(path: Path) -> None:
    script = Script(name='x","trial":7,"metrics":{"epoch":9,')
    outbox = Outbox(path)
    for event in (script.start(), script.begin(0), script.report(0, 1), script.report(1, 1), script.report(0, 3)):
        outbox.append(event)
    outbox.close()
    assert reported_epochs(path, {0, 7}) == {0: {1, 3}, 7: set()}
    assert reported_epochs(path.with_name("none"), {0}) == {0: set()}
    assert count_lines(path, next(read_lines(path)).end) == 4
    assert count_lines(path.with_name("none")) == 0


def test_reading_from_the_middle_and_without_reports(path: Path) -> None:
    outbox = Outbox(path)
    for event in Script().whole():
        outbox.append(event)
    outbox.close()
    lines = list(read_lines(path))
    assert list(read_lines(path, lines[4].end)) == lines[5:]
    rest = list(read_lines(path, reports=False))
    assert rest == [line for line in lines if not isinstance(line.event, EpochReported)]


def test_position_belongs_to_one_server_and_one_file(tmp_path: Path, path: Path) -> None:
    outbox = Outbox(path)
    outbox.append(Script().start())
    outbox.close()
    size, file = path.stat().st_size, tmp_path / "position.json"
    assert load_position(file, "a", path) == Position("a")
    save_position(file, Position("a", 1, size))
    assert load_position(file, "a", path) == Position("a", 1, size)
    assert load_position(file, "b", path) == Position("b")
    save_position(file, Position("a", 9, size + 1))
    assert load_position(file, "a", path) == Position("a")
    file.write_text("{")
    assert load_position(file, "a", path) == Position("a")


def test_progress_is_the_same_when_told_twice(path: Path) -> None:
    outbox = Outbox(path)
    for event in Script().whole():
        outbox.append(event, ORIGIN)
    outbox.close()
    lines = list(read_lines(path))
    once, twice = fold(lines), fold([*lines, *lines])
    assert once == twice
    assert once.best_value is not None
    assert len(once.finished) == 4

"""The Illustrator: everything passes through at once, pages come later, and no fault reaches the engine."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from recorders import MemoryRecorder, Script
from report_kit import Judged, judged

from cli.run_session import with_figures
from study.errors import TrackingError
from study.events import Event, PicturesDrawn, StudyEnded, TrialFinished
from study.figures import background_renderer
from study.figures.background_renderer import FigureRenderer
from study.paths import Layout, StudyLayout
from study.records import TrialRecord, TrialState
from study.training import checkpoint


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return Layout(tmp_path).study("faces")


@pytest.fixture
def data() -> Judged:
    return judged(40)


def _renderer(inner: MemoryRecorder, layout: StudyLayout, data: Judged, close_timeout_s: float = 30) -> FigureRenderer:
    return FigureRenderer(
        inner, layout, data.classes, data.images, data.names, close_timeout_s=close_timeout_s, clock=lambda: 5.0
    )


def _finished(layout: StudyLayout, data: Judged, trial: int) -> TrialFinished:
    return Script().finish(trial, checkpoint=data.save(layout.trial(trial) / "epoch-0002"))


def _slow(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    def page(*_: object) -> str:
        wait()
        return "page"

    monkeypatch.setattr(background_renderer, "trial_page", page)


def _drawn(inner: MemoryRecorder) -> list[int | None]:
    return [event.trial for event in inner.events if isinstance(event, PicturesDrawn)]


def test_scores_lie_where_training_puts_them() -> None:
    assert background_renderer.SCORES == checkpoint.SCORES


def test_events_pass_unchanged_and_pages_follow(layout: StudyLayout, data: Judged) -> None:
    script, inner = Script(), MemoryRecorder()
    told: list[Event] = [
        script.start(), script.begin(0), _finished(layout, data, 0), script.finish(1), _finished(layout, data, 2),
        script.finish(3, TrialState.FAILED), script.end(),
    ]  # fmt: skip
    recorder = _renderer(inner, layout, data)
    for event in told:
        recorder.record(event)
    recorder.close()
    assert [event for event in inner.events if not isinstance(event, PicturesDrawn)] == told
    assert inner.closed
    path = layout.trial_pictures(0)
    drawn = [event for event in inner.events if isinstance(event, PicturesDrawn)]
    assert drawn[0] == PicturesDrawn("faces", 0, str(path.absolute()), 5.0)
    assert [event.trial for event in drawn] == [0, 2]
    assert inner.events.index(drawn[0]) > inner.events.index(told[2])
    assert "wearing_mask" in path.read_text()
    assert sorted(file.name for file in path.parent.iterdir()) == ["epoch-0002", "pictures.html"]


def test_drawing_does_not_hold_up_the_next_event(
    layout: StudyLayout, data: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    _slow(monkeypatch, gate.wait)
    inner = MemoryRecorder()
    recorder = _renderer(inner, layout, data)
    recorder.record(_finished(layout, data, 0))
    recorder.record(Script().begin(1))
    assert len(inner.events) == 2
    assert not _drawn(inner)
    gate.set()
    recorder.close()
    assert _drawn(inner) == [0]


@dataclass
class Touchy(MemoryRecorder):
    """A recorder that notices a second thread inside it."""

    inside: int = 0
    crossed: bool = False
    threads: set[str] = field(default_factory=set)

    def record(self, event: Event) -> None:
        self.inside += 1
        self.crossed |= self.inside > 1
        time.sleep(0.002)
        self.threads.add(threading.current_thread().name)
        super().record(event)
        self.inside -= 1


def test_inner_recorder_hears_of_one_event_at_a_time(
    layout: StudyLayout, data: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    _slow(monkeypatch, lambda: None)
    inner, finished = Touchy(), [_finished(layout, data, trial) for trial in range(30)]
    recorder = _renderer(inner, layout, data)
    for event in finished:
        recorder.record(event)
        recorder.record(Script().begin(99))
    recorder.close()
    assert len(inner.threads) == 2
    assert not inner.crossed
    assert _drawn(inner) == list(range(30))


def test_a_page_that_cannot_be_made_is_said_and_skipped(
    layout: StudyLayout, data: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    missing = Script().finish(0, checkpoint=layout.root / "nowhere")
    short = _finished(layout, replace(data, scores=data.scores[:9], labels=data.labels[:9]), 1)
    damaged = _finished(layout, data, 2)
    (layout.trial(2) / "epoch-0002" / "validation.npz").write_bytes(b"PK\x03\x04 no")
    inner = MemoryRecorder()
    recorder = _renderer(inner, layout, data)
    for event in (missing, short, damaged, _finished(layout, data, 3)):
        recorder.record(event)
    recorder.close()
    assert _drawn(inner) == [3]
    assert [not layout.trial_pictures(trial).exists() for trial in range(4)] == [True, True, True, False]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line[:7] for line in said] == ["trial 0", "trial 1", "trial 2"]
    assert all("could not be drawn" in line for line in said)


@dataclass
class Refusing(MemoryRecorder):
    """A recorder whose disk is full when a page is told."""

    def record(self, event: Event) -> None:
        if isinstance(event, PicturesDrawn):
            raise TrackingError("no space")
        super().record(event)


def test_a_refused_page_event_stays_in_the_background(
    layout: StudyLayout, data: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    inner = Refusing()
    recorder = _renderer(inner, layout, data)
    recorder.record(_finished(layout, data, 0))
    recorder.record(_finished(layout, data, 1))
    recorder.close()
    assert len(inner.events) == 2
    assert inner.closed
    assert caplog.text.count("no space") == 2


def test_no_thread_is_no_reason_to_stop(
    layout: StudyLayout, data: Judged, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    inner = MemoryRecorder()
    recorder = _renderer(inner, layout, data)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        recorder.record(_finished(layout, data, 0))
    assert "can't start new thread" in caplog.text
    recorder.record(_finished(layout, data, 1))
    recorder.close()
    assert _drawn(inner) == [0, 1]


@pytest.mark.parametrize("held", ["trial_page", "write_text_atomic"])
def test_close_waits_no_longer_than_it_may_and_nothing_comes_after_it(
    layout: StudyLayout, data: Judged, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    gate, inner = threading.Event(), MemoryRecorder()
    monkeypatch.setattr(background_renderer, held, lambda *_: gate.wait())
    recorder = _renderer(inner, layout, data, close_timeout_s=0.05)
    for trial in range(3):
        recorder.record(_finished(layout, data, trial))
    recorder.close()  # the drawing itself would go on for ever
    assert inner.closed
    assert "not every trial could be drawn" in caplog.text
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "figure-renderer":
            thread.join(10)
    assert not _drawn(inner)
    assert "could not be drawn: " not in caplog.text, "the inner recorder was told of a page after its close()"
    assert not layout.trial_pictures(0).exists()


def test_close_without_a_trial_closes(layout: StudyLayout, data: Judged) -> None:
    inner = MemoryRecorder()
    _renderer(inner, layout, data).close()
    assert inner.closed


def test_catching_up_draws_only_what_is_missing(layout: StudyLayout, data: Judged) -> None:
    records = [_finished(layout, data, trial).record for trial in range(3)]
    running: TrialRecord = replace(_finished(layout, data, 3).record, state=TrialState.RUNNING)
    layout.trial_pictures(1).write_text("there")
    inner = MemoryRecorder()
    recorder = with_figures(inner, layout, data.classes, data.images, data.names)
    told: Sequence[TrialRecord] = [*records, running, replace(records[0], trial=4, checkpoint=None)]
    recorder.catch_up(told, 9.0, lambda trial: ())
    recorder.close()
    assert inner.caught_up == told
    assert _drawn(inner) == [0, 2]
    assert layout.trial_pictures(1).read_text() == "there"


def test_the_report_follows_the_learning_curves_when_the_study_ends(layout: StudyLayout, data: Judged) -> None:
    script, inner = Script(), MemoryRecorder()
    recorder = FigureRenderer(
        inner, layout, data.classes, data.images, data.names, clock=lambda: 5.0,
        report=lambda event: f"report of a study that is {event.outcome.value}",
    )  # fmt: skip
    for event in (script.start(), TrialFinished(data.record, 1.0), script.end()):
        recorder.record(event)
    recorder.close()
    drawn = [event.path for event in inner.events if isinstance(event, PicturesDrawn) and event.trial is None]
    assert drawn == [str(layout.learning_curves.absolute()), str(layout.report.absolute())]
    assert layout.report.read_text() == "report of a study that is finished"


def test_a_report_that_fails_costs_nothing_but_itself(
    layout: StudyLayout, data: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: StudyEnded) -> str:
        raise ValueError("no such thing")

    script, inner = Script(), MemoryRecorder()
    recorder = FigureRenderer(inner, layout, data.classes, data.images, data.names, report=fail)
    for event in (script.start(), TrialFinished(data.record, 1.0), script.end()):
        recorder.record(event)
    recorder.close()
    assert layout.learning_curves.exists()
    assert not layout.report.exists()
    assert "the study could not be drawn: ValueError: no such thing" in caplog.text

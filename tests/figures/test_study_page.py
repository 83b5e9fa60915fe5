"""The page of a study's learning curves: every trial a line, the best in colour, made at every end of the study."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import MemoryRecorder, Script
from report_kit import judged

from study.config.search_config import Objective
from study.events import PicturesDrawn
from study.figures import background_renderer
from study.figures import study_page as overview
from study.figures.background_renderer import FigureRenderer
from study.figures.plotly_panel import GREY
from study.figures.study_page import MAX_TRIALS, curves_of, study_page
from study.paths import Layout, StudyLayout
from study.records import EpochMetrics, TrialRecord, TrialState

AUC = Objective(metric="val_auc", mode="max")
LOSS = Objective(metric="val_loss", mode="min")


def trial(number: int, *values: float, state: TrialState = TrialState.COMPLETE, **params: object) -> TrialRecord:
    """Make a trial with these values of val_auc; its loss is what they lack to one."""
    history = tuple(EpochMetrics(at, {"val_auc": value, "val_loss": 1 - value}) for at, value in enumerate(values, 1))
    finite = [value for value in values if math.isfinite(value)]
    params = params or {"learning_rate": 0.00123456, "optimizer": "adam"}
    return TrialRecord(
        "faces", number, state, params, {}, seed=1, value=max(finite, default=None), history=history  # type: ignore[arg-type]
    )  # fmt: skip


def panels(page: str) -> dict[str, dict[str, object]]:
    panels = re.search(r'<script type="application/json" id="panels">(.*?)</script>', page, re.DOTALL)
    assert panels is not None
    read: dict[str, dict[str, object]] = json.loads(panels[1])
    return read


def drawn(objective: Objective, *records: TrialRecord, metric: str = "val_auc") -> list[dict[str, object]]:
    """Return the lines of one figure, those on top last."""
    page = study_page("faces", objective, [curves_of(record, objective) for record in records])
    return panels(page)[f"all-{metric}"]["data"]  # type: ignore[return-value]


def test_every_trial_is_a_line_with_its_values_the_best_on_top() -> None:
    lines = drawn(AUC, trial(0, 0.5, 0.7), trial(1, 0.5, 0.9, 0.8), trial(2, 0.6, state=TrialState.PRUNED))
    assert [line["name"] for line in lines] == ["trial 2", "trial 0", "trial 1"]
    assert (lines[-1]["x"], lines[-1]["y"]) == ([1, 2, 3], [0.5, 0.9, 0.8])
    assert lines[-1]["text"] == "<b>trial 1</b>, COMPLETE<br>learning_rate: 0.001235<br>optimizer: adam"


def test_a_metric_to_be_low_ranks_the_other_way_and_is_drawn_once() -> None:
    records = [
        replace(record, value=min(e.values["val_loss"] for e in record.history))
        for record in (trial(0, 0.9), trial(1, 0.5))
    ]
    assert [line["name"] for line in drawn(LOSS, *records, metric="val_loss")] == ["trial 1", "trial 0"]
    page = study_page("faces", LOSS, [curves_of(record, LOSS) for record in records])
    assert list(panels(page)) == ["all-val_loss"]


def test_what_is_not_finite_is_left_out_and_a_trial_without_epochs_too() -> None:
    lines = drawn(AUC, trial(0, math.nan, 0.7, math.inf), trial(1), trial(2, math.nan))
    assert [(line["name"], line["x"], line["y"]) for line in lines] == [("trial 0", [2], [0.7])]
    assert "2 of 3 trials" in study_page(
        "faces", AUC, [curves_of(record, AUC) for record in (trial(0, 0.7), trial(1), trial(2, 0.6))]
    )


def test_of_very_many_trials_the_best_are_drawn_and_few_are_named() -> None:
    records = [trial(number, number / 1000) for number in range(MAX_TRIALS + 50)]
    lines = drawn(AUC, *records)
    assert len(lines) == MAX_TRIALS
    assert lines[-1]["name"] == f"trial {MAX_TRIALS + 49}"
    assert sum(bool(line["showlegend"]) for line in lines) == 10
    assert {line["line"]["color"] for line in lines[:-10]} == {GREY}  # type: ignore[index]


def test_nothing_in_a_name_or_a_value_is_markup() -> None:
    hostile = "</script><script>alert(1)</script>"
    hostile_curves = curves_of(trial(0, 0.5, model=hostile), AUC)
    page = study_page(hostile, AUC, [hostile_curves])
    assert "alert(1)</script>" not in page
    assert "&lt;/script&gt;" in hostile_curves.about


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return Layout(tmp_path).study("faces")


def _renderer(inner: MemoryRecorder, layout: StudyLayout) -> FigureRenderer:
    data = judged(40)
    return FigureRenderer(inner, layout, data.classes, data.images, data.names, clock=lambda: 5.0)


def test_the_page_is_drawn_when_the_study_ends_and_again_after_a_resume(layout: StudyLayout) -> None:
    script, page = Script(), layout.learning_curves
    first, second = (
        replace(script.finish(0), record=trial(0, 0.5, 0.6)),
        replace(script.finish(1), record=trial(1, 0.7)),
    )
    inner = MemoryRecorder()
    recorder = _renderer(inner, layout)
    for event in (script.start(), first):
        recorder.record(event)
    assert not page.exists()
    recorder.record(script.end())
    recorder.close()
    assert inner.events[-1] == PicturesDrawn("faces", None, str(page.absolute()), 5.0)
    assert len(panels(page.read_text())["all-val_auc"]["data"]) == 1  # type: ignore[arg-type]
    recorder = _renderer(inner := MemoryRecorder(), layout)
    recorder.record(script.start(resumed=True))
    recorder.catch_up([first.record, trial(1, 0.5, state=TrialState.RUNNING)], 9.0, lambda trial: ())
    for later in (second, script.end()):
        recorder.record(later)
    recorder.close()
    assert inner.events[-1] == PicturesDrawn("faces", None, str(page.absolute()), 5.0)
    assert len(panels(page.read_text())["all-val_auc"]["data"]) == 2  # type: ignore[arg-type]


def test_a_study_without_an_epoch_has_no_page_and_a_fault_is_said(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script, inner = Script(), MemoryRecorder()
    recorder = _renderer(inner, layout)
    for event in (script.start(), script.finish(0), script.end()):
        recorder.record(event)
    recorder.close()
    assert not any(isinstance(event, PicturesDrawn) for event in inner.events)
    monkeypatch.setattr(background_renderer, "study_page", lambda *_: 1 / 0)
    recorder = _renderer(MemoryRecorder(), layout)
    for event in (script.start(), replace(script.finish(0), record=trial(0, 0.5)), script.end()):
        recorder.record(event)
    recorder.close()
    assert "the study could not be drawn: ZeroDivisionError" in caplog.text
    assert not layout.learning_curves.exists()


def test_long_curves_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MAX_POINTS", 50)
    (line,) = drawn(AUC, trial(0, *(0.5 + 0.001 * epoch for epoch in range(400))))
    assert len(line["x"]) < 50  # type: ignore[arg-type]
    assert (line["x"][0], line["x"][-1]) == (1, 400)  # type: ignore[index]

"""A trial's page: its figures say what the numbers say, and nothing in it can do harm or reach out."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_kit import Judged, judged
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from study.figures import plotly_panel as plotly_script
from study.figures.curves import class_scores, most_wrong
from study.figures.html import inert
from study.figures.plotly_panel import Panel
from study.figures.trial_page import trial_page, trial_panels
from study.records import EpochMetrics
from study.training.metrics import calibration_error


def _page(trial: Judged) -> str:
    return trial_page(trial.record, trial.scores, trial.labels, trial.classes, trial.images, trial.names)


def _panels(trial: Judged) -> dict[str, Panel]:
    panels = trial_panels(trial.record, class_scores(trial.scores), trial.labels, trial.classes)
    return {panel.key: panel for panel in panels}


class Reader(HTMLParser):
    """Collects what a browser would see: elements with attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or "code"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        self._script = None if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_figures_of_two_classes_say_what_scikit_learn_says() -> None:
    trial = judged(400)
    panels = _panels(trial)
    assert list(panels) == ["learning", "roc", "precision_recall", "confusion", "calibration"]
    auc = f"{roc_auc_score(trial.labels, trial.scores):.4f}"
    assert panels["roc"].title == f"ROC curve: AUC {auc}"
    curve, chance = panels["roc"].data
    assert curve["name"] == f"wearing_mask: AUC {auc}"
    x, y, _ = roc_curve(trial.labels, trial.scores, drop_intermediate=False)
    assert set(zip(curve["x"], curve["y"], strict=True)) <= set(zip(x.round(6), y.round(6), strict=True))
    assert (chance["x"], chance["y"]) == ([0, 1], [0, 1])
    precise, prevalence = panels["precision_recall"].data
    assert precise["name"] == f"wearing_mask: AP {average_precision_score(trial.labels, trial.scores):.4f}"
    assert prevalence["y"] == [pytest.approx(trial.labels.mean(), abs=1e-6)] * 2


@pytest.mark.parametrize("classes", [2, 4])
def test_confusion_figure_counts_like_scikit_learn(classes: int) -> None:
    trial = judged(400, classes)
    called = (trial.scores > 0.5).astype(int) if classes == 2 else trial.scores.argmax(axis=1)
    wanted = confusion_matrix(trial.labels, called)
    (heat,) = _panels(trial)["confusion"].data
    share = wanted / wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(heat["z"], share, atol=1e-6)
    for k in range(classes):
        assert heat["text"][k] == [f"{n}<br>{part:.1%}" for n, part in zip(wanted[k], share[k], strict=True)]
    assert f"{np.trace(wanted)} of 400 right" in _panels(trial)["confusion"].title


def test_a_score_of_exactly_one_half_is_negative_as_in_training() -> None:
    trial = judged(3)
    trial = replace(trial, scores=np.array([0.5, 0.51, 0.5]), labels=np.array([0, 1, 1]))
    assert _panels(trial)["confusion"].data[0]["z"] == [[1.0, 0.0], [0.5, 0.5]]


def test_more_classes_have_a_curve_each_and_very_many_the_worst() -> None:
    few = _panels(judged(400, 4))
    wanted = [f"kind {k}: AUC {roc_auc_score(_of(k), _scores(k)):.4f}" for k in range(4)]
    assert [trace["name"] for trace in few["roc"].data] == [*wanted, "chance"]
    many = _panels(judged(2000, 14))["roc"]
    assert len(many.data) == 11
    assert "The 10 worst classes of 14 are drawn" in many.note


def _of(k: int) -> np.ndarray[Any, Any]:
    return judged(400, 4).labels == k


def _scores(k: int) -> np.ndarray[Any, Any]:
    return judged(400, 4).scores[:, k]


def test_calibration_of_two_classes_is_of_the_positive_one() -> None:
    trial = judged(400)
    panel = _panels(trial)["calibration"]
    line, _, bars = panel.data
    assert sum(bars["y"]) == 400
    assert sum(line["customdata"]) == 400
    assert len(bars["y"]) == 15
    share, score = calibration_curve(trial.labels, trial.scores, n_bins=15)
    assert line["x"] == pytest.approx(score, abs=1e-6)
    assert line["y"] == pytest.approx(share, abs=1e-6)
    perfect = replace(trial, scores=trial.labels.astype(np.float64))
    assert _panels(perfect)["calibration"].title.endswith("(ECE) 0.0000")
    upside_down = replace(trial, scores=1.0 - trial.labels)
    assert _panels(upside_down)["calibration"].title.endswith("(ECE) 1.0000")


@pytest.mark.parametrize("classes", [2, 4])
def test_calibration_error_is_the_metric_of_training(classes: int) -> None:
    trial = judged(400, classes)
    both = class_scores(trial.scores)
    error = calibration_error(both.max(axis=1), both.argmax(axis=1) == trial.labels)
    assert _panels(trial)["calibration"].title == f"Calibration: expected error (ECE) {error:.4f}"


def test_scores_that_rounding_took_over_one_are_drawn() -> None:
    trial = judged(40)
    assert _page(replace(trial, scores=np.where(trial.scores > 0.9, 1 + 1e-7, trial.scores)))


def test_learning_curves_hold_the_history_and_mark_the_best_epoch() -> None:
    trial = judged(50, epochs=12)
    panel = _panels(trial)["learning"]
    traces = {trace["name"]: trace for trace in panel.data}
    assert list(traces) == [
        "train_loss", "val_loss", "val_auc", "val_accuracy", "train_accuracy", "learning_rate",
    ]  # fmt: skip
    assert traces["val_loss"]["x"] == list(range(1, 13))
    assert traces["val_loss"]["y"] == pytest.approx([e.values["val_loss"] for e in trial.record.history], rel=1e-5)
    assert {traces[n]["yaxis"] for n in ("train_loss", "val_loss")} == {"y"}
    assert {traces[n]["yaxis"] for n in ("val_auc", "val_accuracy", "train_accuracy")} == {"y2"}
    (mark,) = panel.layout["shapes"]
    assert (mark["x0"], mark["x1"]) == (trial.record.epoch, trial.record.epoch) == (8, 8)


def test_long_and_broken_histories_are_drawn() -> None:
    trial = judged(50, epochs=3000)
    odd = EpochMetrics(3001, {"val_loss": float("nan"), "train_loss": float("inf"), "val_auc": 0.5})
    trial = replace(trial, record=replace(trial.record, history=(*trial.record.history, odd)))
    traces = {trace["name"]: trace for trace in _panels(trial)["learning"].data}
    assert max(len(trace["x"]) for trace in traces.values()) <= 500
    assert traces["val_loss"]["x"][-1] == 3000
    assert traces["val_auc"]["x"][-1] == 3001
    json.loads(Reader(_page(trial)).scripts["panels"])


def test_no_history_and_one_class_only_still_make_a_page() -> None:
    trial = judged(20)
    trial = replace(
        trial, record=replace(trial.record, history=(), epoch=None, metrics={}), labels=np.zeros(20, np.int64)
    )
    panels = _panels(trial)
    assert "learning" not in panels
    assert [trace["name"] for trace in panels["roc"].data] == ["chance"]
    assert "lacks images" in panels["roc"].note
    assert "faces, trial 7" in _page(trial)


def test_the_25_most_wrong_images_are_shown_in_order() -> None:
    trial = judged(200)
    page = Reader(_page(trial))
    places = most_wrong(class_scores(trial.scores), trial.labels, 25)
    assert [image["alt"] for image in page.named("img")] == [trial.names[at] for at in places]
    for image, at in zip(page.named("img"), places, strict=True):
        assert f"{trial.scores[at]:.4f}" in page.text
        kind, _, data = (image["src"] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        shown = np.asarray(Image.open(BytesIO(base64.b64decode(data))), dtype=float)
        assert np.abs(shown - trial.images[at]).mean() < 20


def test_large_images_become_small() -> None:
    trial = judged(30, size_px=400)
    (first, *_) = Reader(_page(trial)).named("img")
    with Image.open(BytesIO(base64.b64decode((first["src"] or "").partition(",")[2]))) as shown:
        assert shown.size == (160, 160)


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=\"alert('&')\">"


def test_hostile_names_stay_text() -> None:
    trial = judged(60)
    record = replace(trial.record, study=HOSTILE, params={HOSTILE: HOSTILE})
    trial = replace(trial, record=record, classes=(HOSTILE, "Größe ü 日本"), names=(HOSTILE,) * 60)
    page = Reader(_page(trial))
    assert list(page.scripts) == ["panels", plotly_script.PACKED_ID, "code"]
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert len(page.named("img")) == 25
    assert f"true: {HOSTILE}" in page.text
    assert "true: Größe ü 日本" in page.text
    panels = json.loads(page.scripts["panels"])
    for name in panels["confusion"]["layout"]["xaxis"]["ticktext"]:
        assert "<" not in name, "plotly reads tags in names as markup"
    assert "Größe ü 日本: AUC" in panels["roc"]["data"][0]["name"]


def test_names_that_do_not_print_are_escaped() -> None:
    trial = judged(30)
    record = replace(trial.record, params={"init": "checkpoint:a\x1b[31m"})
    odd = replace(trial, record=record, classes=("a\u202eb", "c\nd"), names=[f"{at}\x1b.png" for at in range(30)])
    text = _page(odd)
    assert not set(text) & set("\x1b\u202e")
    assert all(shown in text for shown in (r"a\u202eb", r"c\nd", r"\x1b.png", r"checkpoint:a\x1b[31m"))


def test_no_text_ends_the_script_it_stands_in() -> None:
    text = inert({"name": "</script><!--&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": "</script><!--&"}


def test_page_needs_no_other_place() -> None:
    page = _page(judged(60))
    packed = Reader(page).scripts[plotly_script.PACKED_ID]
    assert "plotly.js v" in gzip.decompress(base64.b64decode(packed)).decode()[:300]
    rest = re.sub(r'"data:image/jpeg;base64,[\w+/=]+"', '"data:"', page.replace(packed, ""))
    assert rest.count('src="data:"') == 25
    assert not re.search(r"https?:|//\w|\bsrc=(?!\"data:)|\bhref=|url\(|@import", rest)
    assert "default-src 'none'" in rest
    assert len(page.encode()) < 2_300_000


def test_plotly_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = plotly_script.packed_plotly()
    monkeypatch.setattr(plotly_script, "_source", lambda: pytest.fail("read again"))
    assert plotly_script.packed_plotly() is first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ("a",)}, "of the same images"),
        ({"labels": np.full(40, 2)}, r"labels must be in \[0, 2\)"),
        ({"scores": np.full(40, np.nan)}, r"scores must be in \[0, 1\]"),
        ({"scores": np.full((40, 3), 0.1)}, r"got \(40, 3\) for 2 classes"),
    ],
)
def test_data_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _page(replace(judged(40), **change))

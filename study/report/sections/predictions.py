"""What was predicted: ROC, calibration and the images that were most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from study.figures.curves import Calibration, calibrate, roc
from study.figures.html import jpeg_url
from study.metric_catalog import CALIBRATION_BINS
from study.report.content import Predictions, StudyContent, WrongImage
from study.report.elements import Figure, Picture, Section, Table, number
from study.report.prediction_plots import reliability_plot, roc_plot
from study.report.sections.layout import figure
from study.report.sections.ranking import MANY_IMAGES
from study.report.svg import SERIES
from study.utils.text import printable

_SIDE_PX, _QUALITY = 96, 82


def predictions_section(content: StudyContent) -> Section | None:
    """Return the ROC curves and the reliability of those that may be the best."""
    figures = prediction_figures(
        [replace(each, name=content.labels.get(each.key, each.name)) for each in content.predictions], content.classes
    )
    if not figures:
        return None
    who = "each by its best seed" if content.of_configurations else "each by its checkpoint"
    told = f"Of the first {len(content.predictions)} that may be the best, {who}, on the validation images."
    return Section("predictions", "ROC and calibration", (told,), figures=tuple(figures))


def prediction_figures(predictions: Sequence[Predictions], classes: Sequence[str]) -> list[Figure]:
    """Return ROC curves and reliability; of more than two classes the ROC curves are those of the first's classes."""
    if not predictions:
        return []
    first, two = predictions[0], len(classes) == 2
    if two:
        curves = [(each.name, roc(each.scores[:, 1], each.labels == 1)) for each in predictions]
    else:
        curves = [(name, roc(first.scores[:, k], first.labels == k)) for k, name in enumerate(classes)]
        curves.sort(key=lambda pair: pair[1].area if pair[1] else 2.0)  # the worst first
    drawn = [(name, curve) for name, curve in curves if curve is not None][:SERIES]
    figures = []
    if drawn:
        areas = Table(("", "AUC"), tuple((name, number(curve.area)) for name, curve in drawn), frozenset({1}))
        told = "; ".join(f"{name}: AUC {curve.area:.4f}" for name, curve in drawn)
        note = "" if two else f"Each class of {first.name} against the rest, the worst {len(drawn)}."
        figures.append(figure("roc", "ROC curves", told + ".", roc_plot(drawn), areas, note))
    bins = [(each.name, *_reliability(each, two=two)) for each in predictions[:3]]
    rows = tuple(
        (name, f"{k / len(calibration.counts):.2f}", str(calibration.counts[k]), number(float(calibration.score[k])),
         number(float(calibration.share[k])))
        for name, calibration, _ in bins for k in range(len(calibration.counts)) if calibration.counts[k]
    )  # fmt: skip
    table = Table(("", "score from", "images", "mean score", "share true"), rows, frozenset({1, 2, 3, 4}))
    told = "; ".join(f"{name}: expected calibration error {error:.4f}" for name, _, error in bins) + "."
    what = f"score of {classes[1]}" if two else "score of the class called"
    note = f"The {what}: on the diagonal it is a probability. Bars: images in each bin, of the first."
    figures.append(figure("calibration", "Calibration", told, reliability_plot(bins), table, note))
    return figures


def _reliability(predictions: Predictions, *, two: bool) -> tuple[Calibration, float]:
    """Return the reliability of the positive class of two, else of the class called, and the error as in ``val_ece``.

    Few images have wider bins. The error is that of the class called.
    """
    scores, labels = predictions.scores, predictions.labels
    highest, is_right = scores.max(axis=1), scores.argmax(axis=1) == labels
    error = calibrate(highest, is_right).error
    bins = CALIBRATION_BINS if len(labels) >= MANY_IMAGES else 8
    drawn = calibrate(scores[:, 1], labels == 1, bins) if two else calibrate(highest, is_right, bins)
    return drawn, error


def picture_of(image: WrongImage) -> Picture:
    """Return a small picture of an image with its caption."""
    is_wrong = image.true != image.called
    called = f"called {image.called}" if is_wrong else "called right"
    caption = [image.name.rpartition("/")[2], f"true {image.true}", f"{called}, score of the truth {image.score:.3f}"]
    if image.runs > 1:
        caption.append(f"wrong in {image.misses} of {image.runs} that may be the best")
    url = jpeg_url(image.pixels, _SIDE_PX, _QUALITY, subsampling=-1)
    return Picture(url, tuple(map(printable, caption)), is_wrong)


def wrong_images_section(content: StudyContent) -> Section | None:
    """Return the images that the leader is most wrong about."""
    if not content.wrong:
        return Section("wrong", "Most wrong images", (content.no_pictures,)) if content.no_pictures else None
    pictures = tuple(picture_of(image) for image in content.wrong)
    leader = content.predictions[0].name if content.predictions else "the leader"
    told = (
        f"Validation images by the loss of {leader}, the highest first; framed with a thick line those it calls wrong."
    )
    return Section("wrong", "Most wrong images", (told,), pictures=pictures)

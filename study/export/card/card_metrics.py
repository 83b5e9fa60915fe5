"""Metrics of a bundle's model with 95 % intervals, as its card and `metrics.json` give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from study.analysis.predictions import Predictions
from study.analysis.verdict import judge
from study.analysis.verdict_by_values import compare_values
from study.export.calibration import Calibration, Floats, logits_of
from study.export.export_request import FinalScores, ScoredSet, StudyFacts
from study.metric_catalog import VAL_PREFIX, metric_slug
from study.training.metrics import probabilities

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Measured:
    """A value with the ends of its 95 % interval, None where they are not known."""

    value: float
    low: float | None = None
    high: float | None = None


def measure_set(
    scored: ScoredSet, classes: Sequence[str], temperature: float, threshold: float | None
) -> dict[str, Measured]:
    """Return the metrics of a set of images, decided as the bundle decides.

    Args:
        scored: the checkpoint's scores, not calibrated.
        classes: their names.
        temperature: of the bundle.
        threshold: of the bundle, on calibrated probabilities; None for more than two classes.
    """
    logits = logits_of(scored.scores)
    calibrated = probabilities(logits / temperature)
    # Shifted so that the threshold is at 0.5, where the metrics decide.
    decided = calibrated if threshold is None else expit(logits / temperature - logits_of(np.array([threshold]))[0])
    names = {
        "auc": "auc",
        "accuracy": "accuracy",
        **{f"recall:{name}": f"recall.{metric_slug(name)}" for name in classes},
    }
    measured = {out: _measure(name, decided, scored, classes) for name, out in names.items()}
    measured["loss"] = _measure("loss", calibrated, scored, classes)
    return {name: value for name, value in measured.items() if value is not None}


def _measure(metric: str, scores: Floats, scored: ScoredSet, classes: Sequence[str]) -> Measured | None:
    """Return a metric with its interval, None where the images do not have it."""
    only = np.zeros(1, np.int64)
    try:
        predictions = Predictions(scores[None], scored.labels, only, only, (0,), tuple(classes), scored.groups)
        winner = judge(predictions.comparison(metric)[0]).winner
    except ValueError:  # a class without images
        return None
    return Measured(winner.raw, *(end if np.isfinite(end) else None for end in (winner.low, winner.high)))


def measure_counts(metrics: Mapping[str, float], counts: Sequence[int], classes: Sequence[str]) -> dict[str, Measured]:
    """Return metrics of which only the values are known, with intervals by the numbers of images.

    Args:
        metrics: by their bare names, as the test images' are stored.
        counts: images of each class; empty where unknown.
        classes: their names.
    """
    names = ["auc", "accuracy", *(f"recall.{metric_slug(name)}" for name in classes), "loss"]
    only, measured = np.zeros(1, np.int64), {}
    for name in names:
        if name in metrics:
            value = metrics[name]
            comparison, basis = compare_values(np.array([value]), only, only, VAL_PREFIX + name, "max", tuple(counts))
            is_known = basis == "counts"
            ends = comparison.interval(0, value, float(comparison.half_widths()[0])) if is_known else (None, None)
            measured[name] = Measured(value, *ends)
    return measured


def bundle_metrics(
    config: Mapping[str, Any],
    validation: ScoredSet,
    calibration: Calibration,
    test: FinalScores,
    facts: StudyFacts,
    difference: float | None,
) -> dict[str, Any]:
    """Return what `metrics.json` says, but for the formats.

    Args:
        config: the bundle's configuration.
        validation: the checkpoint's scores on the validation images.
        calibration: fitted on them.
        test: the metrics on the test images.
        facts: what else is known.
        difference: the largest of a stored score to that of the weights loaded again.
    """
    classes, threshold = config["classes"], config["threshold"]

    def measured(scored: ScoredSet) -> dict[str, Any]:
        return _set_json(len(scored.labels), measure_set(scored, classes, calibration.temperature, threshold))

    counts = facts.class_counts.get("test", ())
    tested = {**_set_json(sum(counts), measure_counts(test.metrics, counts, classes)), "is_calibrated": False}
    if facts.test is not None and _is_of(facts.test, test.metrics):
        tested = {**measured(facts.test), "is_calibrated": True}
    return {
        "interval": "95 %",
        "validation": measured(validation),
        "shifted": {name: measured(scored) for name, scored in facts.shifted.items()},
        "test": {"note": test.note, **tested},
        "calibration": asdict(calibration),
        "selection": None if facts.selection is None else asdict(facts.selection),
        "data": {
            "source": facts.data_source,
            "class_counts": {name: list(n) for name, n in facts.class_counts.items()},
        },
        "stored_scores_difference": difference,
    }


def _set_json(images: int, metrics: Mapping[str, Measured]) -> dict[str, Any]:
    return {"images": images, "metrics": {name: asdict(value) for name, value in metrics.items()}}


def _is_of(scored: ScoredSet, metrics: Mapping[str, float]) -> bool:
    """Whether stored scores are those that metrics were computed from, and not of another look."""
    scores = scored.scores
    decided = (scores > 0.5).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    return abs(float((decided == scored.labels).mean()) - metrics.get("accuracy", np.inf)) < _TOLERANCE

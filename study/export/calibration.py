"""Calibrate a classifier by one temperature, and choose the threshold of its positive class; both on validation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from study.errors import UsageError
from study.training.metrics import best_threshold, calibration_error, probabilities

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are tried; where no validation image is called wrong, the coldest would always win."""
_NEAR_THE_END = 0.99
_TINY = 1e-300
RULES = "0.5, balanced, or recall=R with R in (0, 1]"


@dataclass(frozen=True)
class Calibration:
    """A temperature, and the negative log likelihood in nats and the calibration error without it and with it.

    ``note`` says why a temperature was not fitted, or is at the end of those that are tried.
    """

    temperature: float
    images: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    note: str = ""


def logits_of(scores: Floats) -> Floats:
    """Return logits that give scores: [N] of the positive class, or [N, K]."""
    if scores.ndim == 1:
        scores = np.clip(scores, _TINY, 1 - 1e-16)
        return np.log(scores) - np.log1p(-scores)
    return np.log(np.clip(scores, _TINY, 1))


def calibrate(logits: Floats, labels: Ints) -> Calibration:
    """Fit the temperature that makes labels likeliest.

    Args:
        logits: [N] of the positive class, or [N, K]; finite, N > 0.
        labels: [N].

    Source: Guo et al. 2017, section 4.2.
    """
    fitted = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / math.exp(log_t), labels),
        bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    temperature, note = round(math.exp(float(fitted.x)), 6), ""
    before, wrong = negative_log_likelihood(logits, labels), int((_decided(logits) != labels).sum())
    if not wrong:
        temperature, note = 1.0, "not fitted: no validation image is called wrong, so any colder one would seem better"
    elif negative_log_likelihood(logits / temperature, labels) >= before:
        temperature = 1.0
    elif temperature < COLDEST / _NEAR_THE_END:
        note = "the coldest that is tried: its scores differ by so little that a colder one would fit better"
    elif temperature > _NEAR_THE_END * HOTTEST:
        note = f"the hottest that is tried: its scores say next to nothing about the {len(labels)} validation images"
    after = logits / temperature
    return Calibration(
        temperature, len(labels), before, negative_log_likelihood(after, labels), _error(logits, labels),
        _error(after, labels), note,
    )  # fmt: skip


def negative_log_likelihood(logits: Floats, labels: Ints) -> float:
    """Return the mean negative log likelihood of labels in nats."""
    if logits.ndim == 1:
        return float(-log_expit(np.where(labels == 1, logits, -logits)).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def parse_rule(text: str) -> float | None:
    """Check a threshold rule and return the recall it asks for, None for the others.

    Raises:
        UsageError: it is no rule.
    """
    if text in ("0.5", "balanced"):
        return None
    name, equals, value = text.partition("=")
    try:
        recall = float(value) if name == "recall" and equals else math.nan
    except ValueError:
        recall = math.nan
    if not 0 < recall <= 1:
        raise UsageError(f"--threshold must be {RULES}, but is {text!r}")
    return recall


def choose_threshold(rule: str, scores: Floats, labels: Ints) -> float:
    """Return the threshold that a rule means; a score above it is positive.

    Args:
        rule: ``0.5``; ``balanced``, the best mean of both recalls; or ``recall=R``, the highest threshold that keeps
            this recall of the positive class.
        scores: [N], calibrated probabilities of the positive class.
        labels: [N], 0 or 1.

    Raises:
        UsageError: it is no rule, a class is missing, or no threshold keeps the recall.
    """
    recall = parse_rule(rule)
    if rule == "0.5":
        return 0.5
    if len(np.unique(labels)) < 2:
        raise UsageError(f"--threshold {rule} needs validation images of both classes; --threshold 0.5 needs none")
    if recall is None:
        return best_threshold(scores, labels)
    positives = np.sort(scores[labels == 1])[::-1]
    last = positives[math.ceil(recall * len(positives) - 1e-9) - 1]
    if last <= 0:
        raise UsageError(
            f"--threshold {rule} needs a probability above 0 of as many positive images, but {(positives <= 0).sum()} "
            f"of {len(positives)} have 0; ask for less"
        )
    below = scores[scores < last].max(initial=0.0)
    return float((last + below) / 2)


def _decided(logits: Floats) -> Ints:
    return (logits > 0).astype(np.int64) if logits.ndim == 1 else logits.argmax(axis=1)


def _error(logits: Floats, labels: Ints) -> float:
    scores = probabilities(logits)
    confidence = np.maximum(scores, 1 - scores) if scores.ndim == 1 else scores.max(axis=1)
    return calibration_error(confidence, _decided(logits) == labels)

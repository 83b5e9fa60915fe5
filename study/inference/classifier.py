"""What a classifier must be able to do, and what it says of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Classifier(Protocol):
    """The classifier of a bundle; several threads may use it at the same time."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the outputs; of two the second is the positive one."""

    @property
    def threshold(self) -> float | None:
        """The probability above which the positive class is meant; None for more than two classes."""

    def preprocess(self, source: Path | bytes) -> NDArray[np.uint8]:
        """Decode a picture to uint8 RGB [S, S, 3]; raises DataError with the reason."""

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities of images [N, S, S, 3]: [N] of the positive class, or [N, classes]."""

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the indices of the classes that probabilities mean: [N]."""


@dataclass(frozen=True)
class Prediction:
    """The class of one picture, or why it has none.

    Attributes:
        label: the index of the class; None for a picture that cannot be read.
        probabilities: of every class, in their order; empty for a picture that cannot be read.
        reason: why it cannot be read.
    """

    label: int | None
    probabilities: tuple[float, ...] = ()
    reason: str = ""

    @property
    def probability(self) -> float:
        """That of the positive class of two, which a threshold is for; of more, that of the predicted class."""
        assert self.label is not None
        return self.probabilities[1 if len(self.probabilities) == 2 else self.label]


def classify(classifier: Classifier, images: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
    """Return the predictions of decoded images."""
    if not images:
        return []
    raw = classifier.probabilities(np.stack(images))
    labels = classifier.decide(raw).tolist()
    rows = np.stack([1 - raw, raw], axis=1) if raw.ndim == 1 else raw  # [N] -> [N, 2]
    return [Prediction(label, tuple(row)) for label, row in zip(labels, rows.tolist(), strict=True)]


def as_json(prediction: Prediction, classifier: Classifier) -> dict[str, Any]:
    """Return a prediction as commands and the service write it."""
    assert prediction.label is not None
    return {
        "class": classifier.classes[prediction.label],
        "probability": prediction.probability,
        "threshold": classifier.threshold,
        "probabilities": dict(zip(classifier.classes, prediction.probabilities, strict=True)),
    }

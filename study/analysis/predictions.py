"""Predictions of several configurations on the same images, checked and ready to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.influence import influence, split_metric
from study.analysis.verdict import Comparison, compare_runs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """Scores of runs on the same images.

    Attributes:
        scores: [runs, images] of class 1, or [runs, images, classes]; probabilities or logits, finite.
        labels: [images], in [0, classes).
        configuration: [runs], in [0, configurations).
        seed: [runs], equal for runs that share a seed.
        names: of the configurations, or their indices.
        classes: names of the classes.
        groups: [images], equal for images that belong together; None for none.
        notes: what was assumed when the predictions were read.
    """

    scores: Floats
    labels: Ints
    configuration: Ints
    seed: Ints
    names: tuple[str | int, ...]
    classes: tuple[str, ...]
    groups: NDArray[np.generic] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        classes = 2 if self.scores.ndim == 2 else self.scores.shape[2]
        assert classes == len(self.classes)
        assert len(self.configuration) == len(self.seed) == len(self.scores)
        if not self.scores.size:
            raise ValueError(f"scores must hold at least one run and image, got {list(self.scores.shape)}")
        if self.labels.shape != self.scores.shape[1:2]:
            raise ValueError(
                f"there must be one label for each of the {self.scores.shape[1]} images, got {list(self.labels.shape)}"
            )
        if self.groups is not None and self.groups.shape != self.labels.shape:
            raise ValueError(
                f"there must be one group for each of the {len(self.labels)} images, got {list(self.groups.shape)}"
            )
        if self.groups is not None and self.groups.dtype.kind == "f" and not np.isfinite(self.groups).all():
            raise ValueError("groups must be known for every image, but some are NaN or infinite")
        if (bad := int((~np.isfinite(self.scores)).sum())) > 0:
            raise ValueError(f"scores must be finite, but {bad} of {self.scores.size} are NaN or infinite")
        if self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(
                f"labels must be in [0, {classes}), but got {self.labels.min()} to {self.labels.max()}; "
                "scores of more than two classes have a last axis, one column for each class"
            )

    def comparison(self, metric: str) -> tuple[Comparison, tuple[str, ...]]:
        """Return what answers questions about one metric, and what had to be assumed.

        Raises:
            ValueError: there is no such metric, or no image of the class it is about.
        """
        kind, of_class = split_metric(metric)
        scores, note = self.scores, ""
        is_ranking = kind in ("auc", "macro_auc")
        if not (is_ranking and scores.ndim == 2):
            scores, note = as_probabilities(scores)
        self._require_class(kind, of_class)
        measured = influence(metric, scores, self.labels, self.groups, self.classes)
        return compare_runs(metric, measured, self.configuration, self.seed), (note,) if note else ()

    def _require_class(self, kind: str, of_class: str | None) -> None:
        if of_class is None and kind in ("f1", "recall") and len(self.classes) == 2:
            of_class = self.classes[1]
        if kind in ("f1", "recall") and of_class in self.classes and not (
            self.labels == self.classes.index(of_class)
        ).any():  # fmt: skip
            raise ValueError(
                f"{kind} of class `{of_class}` needs images of it, but none of {len(self.labels)} is; "
                "judge by accuracy, or add images"
            )


def as_probabilities(scores: Floats) -> tuple[Floats, str]:
    """Return scores as probabilities, and what was assumed to make them so.

    Two columns become that of the second class.

    Args:
        scores: [runs, images], or [runs, images, classes].
    """
    if scores.ndim == 2:
        if scores.min() >= 0 and scores.max() <= 1:
            return scores, ""
        return 1 / (1 + np.exp(-np.clip(scores, -700, 700))), "scores outside [0, 1] were taken as logits, of 0.5 at 0"
    note = ""
    if scores.min() < 0 or np.abs(scores.sum(axis=2) - 1).max() > _SUM_TOLERANCE:
        powers = np.exp(scores - scores.max(axis=2, keepdims=True))
        scores = powers / powers.sum(axis=2, keepdims=True)
        note = "scores that do not add up to 1 were taken as logits"
    return (scores[:, :, 1] if scores.shape[2] == 2 else scores), note


def in_order(names: Sequence[str]) -> tuple[list[str], Ints]:
    """Return distinct names in order of appearance, and the index of each name among them."""
    places: dict[str, int] = {}
    index = np.array([places.setdefault(name, len(places)) for name in names], dtype=np.int64)
    return list(places), index

"""The catalogue of metrics: every number a trial reports, which direction is better, its unit and its meaning.

To add a metric of predictions, write a function in ``study/training/metrics.py``, add it to the result of ``evaluate``
there and describe it in EVALUATED here; to add one of the training itself, report it in ``study/training/trainer.py``
and describe it in METRICS here. Objectives, budgets, reports, ranking and MLflow know it by these tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.config.search_config import Mode


@dataclass(frozen=True)
class Metric:
    """A number a trial reports: the better direction, None where there is none, its unit and what it means."""

    mode: Mode | None
    unit: str
    text: str


VAL_PREFIX = "val_"
SHIFTED_METRIC_PREFIX = "shifted."
TEST_PREFIX = "test."
MACHINE_UNITS = ("s", "1/s", "byte", "ms")
PER_CLASS = ("precision", "recall", "f1")
CALIBRATION_BINS = 15
_LONGEST_SLUG = 150
_NOT_IN_NAMES = re.compile(r"[^\w.\- :]")

EVALUATED: Mapping[str, Metric] = {
    "loss": Metric("min", "nat", "mean cross-entropy"),
    "accuracy": Metric("max", "1", "fraction classified right, which for two classes is at score 0.5"),
    "auc": Metric("max", "1", "area under the ROC curve; with more classes the mean over each against the rest"),
    "f1": Metric("max", "1", "F1 of the positive class at score 0.5; with more classes the mean over them"),
    "macro_precision": Metric("max", "1", "mean precision of the classes"),
    "macro_recall": Metric("max", "1", "mean recall of the classes, which is the balanced accuracy"),
    "macro_f1": Metric("max", "1", "mean F1 of the classes"),
    "ece": Metric("min", "1", "expected calibration error: mean gap of confidence and accuracy in 15 bins"),
    "threshold": Metric(None, "1", "score threshold of the best balanced accuracy; two classes only"),
}
"""What is known of every image set that is scored, by its bare name; a class that is missing hides some."""


def _on(images: str, metric: Metric) -> Metric:
    return replace(metric, text=f"{metric.text}; on {images}")


METRICS: Mapping[str, Metric] = {
    "train_loss": Metric("min", "nat", "mean of the loss that is minimised over the epoch's training batches"),
    "train_accuracy": Metric("max", "1", "fraction of training images classified right, while training"),
    **{VAL_PREFIX + name: _on("the validation images", metric) for name, metric in EVALUATED.items()},
    "learning_rate": Metric(None, "1", "learning rate at the end of the epoch"),
    "epoch_s": Metric("min", "s", "wall-clock time of the epoch, validation included"),
    "images_per_s": Metric("max", "1/s", "training images per second, validation excluded"),
    "peak_memory_bytes": Metric("min", "byte", "peak memory of the device (GPU) or of the process (CPU)"),
    "latency_ms": Metric("min", "ms", "median time to classify one image, on the trial's device"),
    "parameters": Metric("min", "1", "number of the model's parameters"),
}
"""What every trial reports after every epoch, besides ``val_<PER_CLASS>.<class>``."""


def metric_named(name: str) -> Metric | None:
    """Return the metric of this name, None where no trial can report it.

    Beside METRICS there are ``val_recall.<class>``, ``shifted.<set>.<name>`` and ``test.<name>``, where ``<name>``
    is one of EVALUATED or ``<PER_CLASS>.<class>``. Whether there is such a set or class is not known here.
    """
    if (of_set := shifted_set(name)) is not None:
        metric, images = _evaluated(bare_metric(name)), f"the images of shifted set {of_set}"
    elif name.startswith(TEST_PREFIX):
        metric, images = _evaluated(name.removeprefix(TEST_PREFIX)), "the test images"
    elif name.startswith(VAL_PREFIX):
        metric, images = _evaluated(bare_metric(name)), "the validation images"
    else:
        return METRICS.get(name)
    return _on(images, metric) if metric else None


def is_machine_metric(name: str) -> bool:
    """Whether a metric measures time or memory, so that it differs whenever the same trial runs again."""
    metric = metric_named(name)
    return metric is not None and metric.unit in MACHINE_UNITS


def shifted_sets(name: str) -> tuple[str, ...]:
    """Return the set a ``shifted.<set>.<name>`` is about, or each it may be where names have dots; else nothing."""
    if not name.startswith(SHIFTED_METRIC_PREFIX):
        return ()
    parts = name.removeprefix(SHIFTED_METRIC_PREFIX).split(".")
    splits = ((".".join(parts[:at]), ".".join(parts[at:])) for at in range(1, len(parts)))
    return tuple(images for images, bare in splits if images and _evaluated(bare))


def shifted_set(name: str) -> str | None:
    """Return the shifted set that a metric is about, the first that it may be; None for any other metric."""
    return next(iter(shifted_sets(name)), None)


def shifted_metric(images: str, bare: str) -> str:
    """Return the name that a metric has on a shifted set."""
    return f"{SHIFTED_METRIC_PREFIX}{images}.{bare}"


def bare_metric(name: str) -> str:
    """Return a metric without the validation images or the shifted set that it is measured on."""
    images = shifted_set(name)
    return name.removeprefix(VAL_PREFIX if images is None else shifted_metric(images, ""))


def is_of_images(name: str) -> bool:
    """Whether a metric is measured on the validation images or a shifted set, so that other images would change it."""
    return name.startswith((VAL_PREFIX, SHIFTED_METRIC_PREFIX))


def _evaluated(bare: str) -> Metric | None:
    """Return a metric of an image set by its name without prefix."""
    kind, _, of_class = bare.partition(".")
    if of_class and kind in PER_CLASS:
        text = f"{'F1' if kind == 'f1' else kind} of class {of_class} against the rest"
        return Metric("max", "1", text)
    return EVALUATED.get(bare)


def metric_slug(class_name: str) -> str:
    """Return a class name as it stands in metric names, at most 150 characters long.

    Letters and digits of any script, ``_``, ``.``, ``-``, ``:`` and blanks stay, the rest becomes ``_``. MLflow takes
    ``/`` too, but only where the name is a tidy path, and 250 characters with the rest of the metric's name.
    """
    return _NOT_IN_NAMES.sub("_", unicodedata.normalize("NFC", class_name))[:_LONGEST_SLUG] or "_"

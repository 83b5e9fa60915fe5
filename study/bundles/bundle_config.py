"""The configuration of a bundle: what its model takes and gives, checked when it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from study.data.decode import Resize
from study.errors import BundleError

FORMAT = 2
FORMATS = (1, 2)
"""Those that are read; 1 has neither a temperature nor sums."""
_MAX_SIZE_PX = 1024
"""The largest that a study may have."""


@dataclass(frozen=True)
class BundleConfig:
    """What a bundle's model takes and gives.

    Attributes:
        classes: their names in the order of the outputs; of two the second is the positive one.
        preprocessing: image_size_px, resize (in words), resize_mode, and mean and std of RGB in [0, 1].
        temperature: what logits are divided by before they become probabilities.
        threshold: a calibrated probability above it means the positive class; None for more than two classes.
        contents: everything the file says.
    """

    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    temperature: float
    threshold: float | None
    contents: Mapping[str, Any]

    @property
    def image_size_px(self) -> int:
        """The side of the square images."""
        return int(self.preprocessing["image_size_px"])

    @property
    def resize(self) -> Resize:
        """How a picture becomes a square."""
        mode: Resize = self.preprocessing["resize_mode"]
        return mode

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a model and its configuration must agree on; models carry it in their metadata."""
        shown = ("image_size_px", "resize_mode", "mean", "std")
        return {
            "classes": list(self.classes),
            "temperature": self.temperature,
            **{name: self.preprocessing[name] for name in shown},
        }


def parse_config(text: str | bytes, name: str) -> BundleConfig:
    """Parse the configuration of a bundle.

    Args:
        text: JSON.
        name: of the file, for errors.

    Raises:
        BundleError: it is damaged, or has another format.
    """
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} must be JSON, but is damaged: {error}") from error
    version = contents.get("format") if isinstance(contents, dict) else None
    if version not in FORMATS or isinstance(version, bool):
        raise BundleError(f"the format of a bundle must be 1 or 2, but {name} says {version!r}")
    try:
        classes = contents["classes"]
        steps = {"resize_mode": "crop", **contents["preprocessing"]}
        temperature = contents["temperature"] if version > 1 else 1.0
        threshold = contents["threshold"]
    except (KeyError, TypeError) as error:
        raise BundleError(f"{name} is damaged: it lacks {error}") from error
    _check_classes(classes, name)
    _check_preprocessing(steps, name)
    if not _is_number(temperature) or temperature <= 0:
        raise BundleError(f"{name} is damaged: temperature must be > 0, but is {temperature!r}")
    if len(classes) > 2 and threshold is not None:
        raise BundleError(f"{name} is damaged: {len(classes)} classes have no threshold, but it is {threshold!r}")
    if len(classes) == 2 and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise BundleError(f"{name} is damaged: threshold must be in [0, 1], but is {threshold!r}")
    return BundleConfig(tuple(classes), steps, float(temperature), threshold, contents)


def _check_classes(classes: Any, name: str) -> None:
    is_list = isinstance(classes, list) and all(isinstance(each, str) and _is_unicode(each) for each in classes)
    if not is_list or len(set(classes)) != len(classes) or len(classes) < 2:
        raise BundleError(f"{name} is damaged: classes must be two or more distinct names, but are {classes!r}")


def _check_preprocessing(steps: Mapping[str, Any], name: str) -> None:
    size, mode = steps.get("image_size_px"), steps["resize_mode"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _MAX_SIZE_PX:
        raise BundleError(f"{name} is damaged: image_size_px must be in [1, {_MAX_SIZE_PX}], but is {size!r}")
    if mode not in get_args(Resize):
        raise BundleError(f"{name} is damaged: resize_mode must be one of {get_args(Resize)}, but is {mode!r}")
    for key in ("mean", "std"):
        values = steps.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
            raise BundleError(f"{name} is damaged: {key} must be three numbers, but is {values!r}")
    if min(steps["std"]) <= 0:
        raise BundleError(f"{name} is damaged: std must be > 0, but is {steps['std']!r}")


def _is_unicode(text: str) -> bool:
    """Whether text has no surrogates, which JSON can hold but no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False

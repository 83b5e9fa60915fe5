"""The augmentations of a study file: operations with strengths, joined by +, and presets; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

JOIN = "+"
_STEP = re.compile(r"(?P<name>[a-z_]+)(?:\((?P<strength>[^()]*)\))?")


@dataclass(frozen=True)
class Operation:
    """One way to change an image at random, with a strength in [low, high]; at ``idle`` it does nothing."""

    default: float
    low: float
    high: float
    unit: str
    text: str
    idle: float = 0.0
    mixes_labels: bool = False


@dataclass(frozen=True)
class Step:
    """An operation with its strength."""

    name: str
    strength: float


OPERATIONS: dict[str, Operation] = {
    "flip": Operation(0.5, 0, 1, "probability", "mirrors left-right"),
    "rotate": Operation(30, 0, 180, "degrees", "turns by an angle uniform in [-strength, strength]"),
    "shift": Operation(0.1, 0, 1, "fraction of the side", "moves along each axis by up to the strength, either way"),
    "crop": Operation(
        0.6,
        0.01,
        1,
        "smallest share of the area",
        "cuts out a part of area [strength, 1], ratio 3/4 to 4/3, resized",
        idle=1,
    ),
    "colour": Operation(
        0.3, 0, 1, "relative change", "changes brightness, contrast and saturation by up to the strength, each"
    ),
    "blur": Operation(1.0, 0, 8, "pixels", "blurs with a Gaussian of standard deviation uniform in [0, strength]"),
    "erase": Operation(0.25, 0, 1, "largest share of the area", "hides a rectangle of area up to the strength"),
    "mixup": Operation(
        0.2, 0.01, 8, "alpha of Beta(alpha, alpha)", "blends two images and their labels", mixes_labels=True
    ),
    "cutmix": Operation(
        1.0, 0.01, 8, "alpha of Beta(alpha, alpha)", "pastes a part of another image and its label", mixes_labels=True
    ),
    "trivial": Operation(1.0, 0, 1, "share of the widest range", "applies one random operation at a random strength"),
}
PRESETS: Mapping[str, str] = {
    "none": "",
    "light": "flip+shift(0.05)",
    "standard": "flip+rotate(10)+crop(0.7)+colour(0.2)",
    "strong": "flip+rotate(20)+crop(0.4)+colour(0.5)+blur(1)+erase(0.2)",
    "offcentre": "flip+shift(0.25)+crop(0.5)",
    "lowlight": "flip+colour(0.8)+blur(1)",
}
MIXING = tuple(name for name, operation in OPERATIONS.items() if operation.mixes_labels)


def parse_augmentation(text: str) -> tuple[Step, ...]:
    """Read an augmentation such as ``flip+rotate(15)+erase``; a strength left out is the default.

    Returns:
        The steps in the order they are applied; none for ``none``.

    Raises:
        ValueError: a name is unknown or comes twice, or a strength is not in its range.
    """
    steps: list[Step] = []
    for part in text.split(JOIN):
        word = part.strip()
        steps += [_read(step) for step in PRESETS[word].split(JOIN) if step] if word in PRESETS else [_read(word)]
    names = [step.name for step in steps]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"each operation must come once, but `{twice}` comes {names.count(twice)} times in `{text}`")
    if len(mixing := [name for name in MIXING if name in names]) > 1:
        raise ValueError(f"{' and '.join(mixing)} both blend labels, so at most one of them may be in `{text}`")
    return tuple(steps)


def _read(word: str) -> Step:
    match = _STEP.fullmatch(word)
    operation = OPERATIONS.get(match["name"]) if match else None
    if match is None or operation is None:
        raise ValueError(
            f"`{word}` is no augmentation; write operations such as `flip+rotate(15)` out of {', '.join(OPERATIONS)}, "
            f"or one of {', '.join(PRESETS)}"
        )
    if match["strength"] is None:
        return Step(word, operation.default)
    rule = f"the strength of {match['name']} must be a number in [{operation.low:g}, {operation.high:g}]"
    try:
        strength = float(match["strength"])
    except ValueError:
        raise ValueError(f"{rule} ({operation.unit}), got `{match['strength']}`") from None
    if not operation.low <= strength <= operation.high:
        raise ValueError(f"{rule} ({operation.unit}), got {strength:g}")
    return Step(match["name"], strength)


def check_augmentation(text: str) -> str:
    """Return the text if it can be read.

    Raises:
        ValueError: see ``parse_augmentation``.
    """
    parse_augmentation(text)
    return text


def check_unmixed(text: str) -> str:
    """Return the text if it can be read and leaves labels alone.

    Raises:
        ValueError: see ``parse_augmentation``; or it blends images.
    """
    if mixing := next((step.name for step in parse_augmentation(text) if step.name in MIXING), None):
        raise ValueError(f"it must leave each image whole, but `{mixing}` blends two of them")
    return text

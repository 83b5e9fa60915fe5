"""Draw from seeded generators that give the same numbers in every process; pure."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from study.data.synthetic_faces.vocabulary import RENDERER_VERSION

T = TypeVar("T")
Colour = tuple[float, float, float]


def stream(*key: int) -> np.random.Generator:
    """Return the generator that belongs to a key of non-negative integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((RENDERER_VERSION, *key))))


def pick(rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """Draw one option; the weights need not sum to one."""
    if weights is None:
        return options[int(rng.random() * len(options))]
    remaining = float(rng.random()) * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        remaining -= weight
        if remaining < 0:
            return option
    return options[-1]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a plain Python float, because NumPy scalars promote float32 images to float64."""
    return low + (high - low) * float(rng.random())


def happens(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability; always uses up one draw."""
    return float(rng.random()) < probability


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Blend two colours; weight 0 is the first, 1 the second."""
    red, green, blue = ((1 - weight) * a + weight * b for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(colour: Colour, factor: float) -> Colour:
    """Brighten or darken a colour, held within 0-255."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def any_colour(rng: np.random.Generator, saturation: float, low: float, high: float) -> Colour:
    """Draw a colour of random hue whose brightest channel lies between low and high."""
    value = between(rng, low, high)
    channels = [value * (1 - saturation * float(rng.random())) for _ in range(3)]
    return channels[0], channels[1], channels[2]

"""Augment whole batches on the device, each image on its own; one registry entry per operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch

from study.config.augmentation_spec import MIXING, Step, parse_augmentation
from study.training.augmentation.color import blur, colour, cutmix, erase, mixup
from study.training.augmentation.geometry import (
    Draw,
    compose,
    draw_crop,
    draw_flip,
    draw_mirrored,
    draw_rotate,
    draw_shift,
    mirror,
    warp,
)
from study.training.augmentation.trivial_augment import trivial

Batch = tuple[torch.Tensor, torch.Tensor]
Stage = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Batch]


@dataclass(frozen=True)
class Geometric:
    """An operation that is a matrix per image."""

    draw: Draw


@dataclass(frozen=True)
class Pixelwise:
    """An operation that changes images and leaves labels."""

    change: Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Mixing:
    """An operation that changes images and labels."""

    mix: Callable[[torch.Tensor, torch.Tensor, float, torch.Generator], Batch]


REGISTRY: Mapping[str, Geometric | Pixelwise | Mixing] = {
    "flip": Geometric(draw_flip),
    "rotate": Geometric(draw_rotate),
    "shift": Geometric(draw_shift),
    "crop": Geometric(draw_crop),
    "colour": Pixelwise(colour),
    "blur": Pixelwise(blur),
    "erase": Pixelwise(erase),
    "mixup": Mixing(mixup),
    "cutmix": Mixing(cutmix),
    "trivial": Pixelwise(trivial),
}
IDLE: Mapping[str, float] = {"crop": 1.0}
"""The strength at which an operation does nothing, where it is not 0."""


@dataclass(frozen=True)
class Augmenter:
    """The stages of one augmentation, in order; calling it changes a batch, each image by numbers of its own."""

    stages: tuple[Stage, ...]
    mixes_labels: bool

    def __call__(self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        """Return new images and targets; the ones given stay as they are.

        Args:
            images: [B, 3, S, S], float32 in [0, 1], in either memory format, which is kept.
            targets: [B, K], float32 class probabilities.
            generator: of the CPU, whatever the device, so that every device gets the same numbers.
        """
        if not self.stages:
            return images, targets
        # Every stage is faster on planes, most of all resampling and saturation.
        planes = images.contiguous()
        for stage in self.stages:
            planes, targets = stage(planes, targets, generator)
        return (planes if images.is_contiguous() else planes.contiguous(memory_format=torch.channels_last)), targets


def build_augmenter(text: str) -> Augmenter:
    """Read an augmentation such as ``flip+rotate(15)+erase``; geometric steps in a row become one resampling.

    Raises:
        ValueError: the text cannot be read.
    """
    steps = [step for step in parse_augmentation(text) if step.strength != IDLE.get(step.name, 0.0)]
    stages: list[Stage] = []
    for geometric, run in groupby(steps, lambda step: isinstance(REGISTRY[step.name], Geometric)):
        in_a_row = tuple(run)
        stages += [_moving(in_a_row)] if geometric else map(_changing, in_a_row)
    return Augmenter(tuple(stages), any(step.name in MIXING for step in steps))


def _moving(steps: tuple[Step, ...]) -> Stage:
    """Return the one stage of geometric steps in a row."""

    def flip_alone(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        return mirror(images, draw_mirrored(len(images), steps[0].strength, generator)), targets

    def move(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        entries = [(REGISTRY[step.name], step.strength) for step in steps]
        drawn = [entry.draw(len(images), at, generator) for entry, at in entries if isinstance(entry, Geometric)]
        return warp(images, compose(drawn)), targets

    return flip_alone if [step.name for step in steps] == ["flip"] else move


def _changing(step: Step) -> Stage:
    """Return the stage of one step that is not geometric."""
    entry = REGISTRY[step.name]

    def change(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        if isinstance(entry, Mixing):
            return entry.mix(images, targets, step.strength, generator)
        assert isinstance(entry, Pixelwise)
        return entry.change(images, step.strength, generator), targets

    return change

"""Augment whole batches on the device, each image by its own random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch

from study.config.augmentation_spec import OPERATIONS, Step, parse_augmentation
from study.training.augmentation import pixelwise
from study.training.augmentation.geometry import GEOMETRIC, compose, draw_mirrored, mirror, warp
from study.training.augmentation.mixing import MIXING, Batch
from study.training.augmentation.trivial_augment import trivial

PIXELWISE = {**pixelwise.PIXELWISE, "trivial": trivial}
Stage = Callable[[torch.Tensor, torch.Tensor, torch.Generator], Batch]


@dataclass(frozen=True)
class Augmenter:
    """The stages of one augmentation, in order; calling it changes a batch."""

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
    """Build an augmentation such as ``flip+rotate(15)+erase``; geometric steps in a row become one resampling.

    Raises:
        ValueError: the text cannot be read.
    """
    steps = [step for step in parse_augmentation(text) if step.strength != OPERATIONS[step.name].idle]
    stages: list[Stage] = []
    for geometric, group in groupby(steps, lambda step: step.name in GEOMETRIC):
        consecutive = tuple(group)
        stages += [_geometric_stage(consecutive)] if geometric else map(_other_stage, consecutive)
    return Augmenter(tuple(stages), any(step.name in MIXING for step in steps))


def _geometric_stage(steps: tuple[Step, ...]) -> Stage:
    """Return the stage of geometric steps in a row."""

    def flip_alone(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        return mirror(images, draw_mirrored(len(images), steps[0].strength, generator)), targets

    def move(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        matrices = [GEOMETRIC[step.name](len(images), step.strength, generator) for step in steps]
        return warp(images, compose(matrices)), targets

    return flip_alone if [step.name for step in steps] == ["flip"] else move


def _other_stage(step: Step) -> Stage:
    """Return the stage of one step that is not geometric."""

    def change(images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> Batch:
        if step.name in MIXING:
            return MIXING[step.name](images, targets, step.strength, generator)
        return PIXELWISE[step.name](images, step.strength, generator), targets

    return change

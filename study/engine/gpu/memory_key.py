"""The keys of GPU memory: what determines how much memory a trial takes, for every trial a study may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from study.config.hyperparameters import DEPTHS, Hyperparameters
from study.config.search_config import MOST_POINTS
from study.config.search_space import Choice, Constant, Domain, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs.grid import grid_points
from study.designs.space import constants

MEMORY_PARAMETERS = (
    "family", "depth", "head", "head_width", "freeze", "optimizer", "ema_decay", "precision", "channels_last",
    "batch_size",
)  # fmt: skip
"""The hyperparameters that determine it; augmentation, loss and schedule hardly matter."""


class MemoryKey(NamedTuple):
    """What determines a trial's memory; ``head_width`` is 0 for a head without a hidden layer."""

    family: str
    depth: int
    head: str
    head_width: int
    freeze: str
    optimizer: str
    averaged: bool
    precision: str
    channels_last: bool | str
    image_size_px: int
    batch_size: int

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Hyperparameters of a trial with this key."""
        given = self._asdict()
        decay = 0.99 if given.pop("averaged") else None
        width = given.pop("head_width") or 1
        del given["image_size_px"]
        return Hyperparameters.model_validate({**given, "head_width": width, "ema_decay": decay})

    def __str__(self) -> str:
        """Return the most important parts as in a study file."""
        return f"{self.family} {self.depth} with batch_size {self.batch_size} and image_size_px {self.image_size_px}"


def memory_key(config: Mapping[str, Any], image_size_px: int) -> MemoryKey:
    """Return the key of a trial's hyperparameters."""
    return MemoryKey(
        family=config["family"],
        depth=config["depth"],
        head=config["head"],
        head_width=config["head_width"] if config["head"] == "mlp" else 0,
        freeze=config["freeze"],
        optimizer=config["optimizer"],
        averaged=config["ema_decay"] is not None,
        precision=config["precision"],
        channels_last=config["channels_last"],
        image_size_px=image_size_px,
        batch_size=config["batch_size"],
    )


def memory_keys(spec: StudySpec) -> tuple[MemoryKey, ...]:
    """Return the keys of all points of a study's space, with ranges at their upper ends; conditions are respected.

    At most ``MOST_POINTS`` combinations of the parameters that determine the memory are used.
    """
    fixed = {**spec.trial.model_dump(), **constants(spec.space)}
    points = islice(grid_points(_memory_space(spec)), MOST_POINTS)
    keys = (memory_key({**fixed, **point}, spec.data.image_size_px) for point in points)
    return tuple(dict.fromkeys(key for key in keys if key.depth in DEPTHS[key.family]))


def range_ceilings(spec: StudySpec) -> dict[str, int]:
    """Return the upper ends of the integer ranges that ``memory_keys`` uses in place of the range."""
    ranges = {
        parameter.name: parameter.domain
        for parameter in _memory_parameters(spec)
        if isinstance(parameter.domain, Integer)
    }
    return {name: _top(domain) for name, domain in ranges.items() if name not in _condition_parameters(spec.space)}


def _memory_space(spec: StudySpec) -> tuple[Parameter, ...]:
    """Return the part of the space that determines the memory, and the parameters of its conditions."""
    conditional = _condition_parameters(spec.space)
    return tuple(
        parameter.model_copy(
            update={"domain": parameter.domain if parameter.name in conditional else _narrowed(parameter.domain)}
        )
        for parameter in _memory_parameters(spec)
    )


def _memory_parameters(spec: StudySpec) -> list[Parameter]:
    by_name = {parameter.name: parameter for parameter in spec.space}
    needed, wanted = set[str](), [name for name in MEMORY_PARAMETERS if name in by_name]
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            wanted += [other for other in _condition_parameters([by_name[name]]) if other in by_name]
    return [parameter for parameter in spec.space if parameter.name in needed or isinstance(parameter.domain, Constant)]


def _condition_parameters(space: Iterable[Parameter]) -> set[str]:
    """Return the names of the parameters on which others depend."""
    return {
        condition.parameter
        for parameter in space
        for condition in (*parameter.when, *(excluded.beside for excluded in parameter.excluded))
    }


def _narrowed(domain: Domain) -> Domain:
    match domain:
        case Integer():
            return Choice(values=(_top(domain),))
        case Uniform(high=high):
            return Choice(values=(high,))
    return domain


def _top(domain: Integer) -> int:
    return domain.low + (domain.high - domain.low) // domain.step * domain.step

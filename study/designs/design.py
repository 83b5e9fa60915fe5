"""What every design is: how it checks a space, lists its points and counts them; pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from study.config.hyperparameters import Scalar
from study.config.search_config import DesignSpec
from study.config.search_space import Parameter
from study.designs.space import is_continuous

Point: TypeAlias = dict[str, Scalar]
"""Values of searched parameters by name, without constants."""


@dataclass(frozen=True)
class Objection:
    """Why a design cannot be run, and the key of the study file that is to blame."""

    loc: tuple[str | int, ...]
    message: str


class Design(ABC):
    """A way to list points of a space; ``fields`` are the keys of the study file's `design` that it alone has."""

    fields: tuple[str, ...] = ()

    def form_objections(self, design: DesignSpec) -> Iterator[Objection]:
        """Yield what is wrong in the `design` section, whatever the space."""
        yield from ()

    @abstractmethod
    def objections(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
        """Yield why a space that searches something does not admit a design without form objections."""

    @abstractmethod
    def points(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Point]:
        """Return every point once; only for a space without objections."""

    @abstractmethod
    def count(self, design: DesignSpec, space: Sequence[Parameter]) -> int | None:
        """Count the points without making them; None where there are too many."""

    def notes(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[str]:
        """Yield what to know before it is run, a sentence each."""
        yield from ()


def continuous_ranges(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    """Object to every parameter whose values cannot be listed."""
    for parameter in space:
        if is_continuous(parameter.domain):
            rule = f"design {design.kind} needs listed values, but space.{parameter.name} is a continuous range"
            yield Objection(("space", parameter.name), f"{rule}; use choice, int or a step")

"""The searched hyperparameters: their domains, the conditions they exist under, and excluded values; no I/O."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from study.config.hyperparameters import Frozen, Scalar


class Choice(Frozen):
    """One of the listed values."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[Scalar, ...], Field(strict=False)]


class Uniform(Frozen):
    """A real number in [low, high], on a log scale or in steps if asked."""

    kind: Literal["uniform"] = "uniform"
    low: float
    high: float
    step: float | None = None
    log: bool = False


class Integer(Frozen):
    """An integer in [low, high], both ends included."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    step: int = 1
    log: bool = False


class Constant(Frozen):
    """One fixed value."""

    kind: Literal["constant"] = "constant"
    value: Scalar


Domain = Annotated[Choice | Uniform | Integer | Constant, Field(discriminator="kind")]


class Condition(Frozen):
    """The parameter must have one of these values."""

    parameter: str
    values: Annotated[tuple[Scalar, ...], Field(strict=False)]

    def holds(self, value: object) -> bool:
        """Whether this value of the parameter is one of those asked for."""
        return any(same_value(value, wanted) for wanted in self.values)


class Exclusion(Frozen):
    """A value of a choice that cannot be run beside some values of another parameter."""

    value: Scalar
    beside: Condition


class Parameter(Frozen):
    """A searched hyperparameter; it exists in a trial only where all its conditions hold.

    ``excluded`` is found out when a study starts, such as weights that are missing for one depth only.
    """

    name: str
    domain: Domain
    when: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    excluded: Annotated[tuple[Exclusion, ...], Field(strict=False)] = ()


def same_value(left: object, right: object) -> bool:
    """Whether two values are the same one: 1 is 1.0 but not true, though Python calls all three equal."""
    return isinstance(left, bool) is isinstance(right, bool) and left == right

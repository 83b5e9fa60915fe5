"""The parts of a filter expression, and whether they hold: true, false, or unknown where a value is missing."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from study.config.hyperparameters import Scalar

Value: TypeAlias = Scalar | None
Lookup: TypeAlias = Callable[[str], Value]
"""Returns the value of a name, None where it is missing."""
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def kind_of(value: Scalar) -> str:
    """Return the type of a value in words."""
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def present(value: Value) -> Value:
    """Return the value; not-a-number is missing."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Name:
    """A name; ``at`` is its place in the text."""

    name: str
    at: int

    def value(self, lookup: Lookup) -> Value:
        """Return the value that a trial has by this name."""
        return present(lookup(self.name))


@dataclass(frozen=True)
class LiteralValue:
    """A value written out; ``at`` is its place in the text."""

    literal: Scalar
    at: int

    def value(self, lookup: Lookup) -> Value:
        """Return the literal."""
        return self.literal


Operand: TypeAlias = Name | LiteralValue


@dataclass(frozen=True)
class Comparison:
    """Two operands compared by =, !=, <, <=, > or >=."""

    left: Operand
    sign: str
    right: Operand

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether it holds; None where a value is missing or the two have no order."""
        left, right = self.left.value(lookup), self.right.value(lookup)
        if left is None or right is None:
            return None
        if self.sign in ("=", "!="):
            return _is_same(left, right) is (self.sign == "=")
        return _ORDERS[self.sign](left, right) if kind_of(left) == kind_of(right) else None


@dataclass(frozen=True)
class IsIn:
    """``operand in (...)``."""

    operand: Operand
    values: tuple[LiteralValue, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the value is one of those listed; None where it is missing."""
        value = self.operand.value(lookup)
        return None if value is None else any(_is_same(value, listed.literal) for listed in self.values)


@dataclass(frozen=True)
class Like:
    """``operand like pattern``, where % stands for any characters; upper and lower case differ."""

    operand: Operand
    pattern: LiteralValue

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the whole text matches; None where it is missing or no text."""
        value = self.operand.value(lookup)
        return _matches(value, str(self.pattern.literal)) if isinstance(value, str) else None


@dataclass(frozen=True)
class IsNull:
    """``operand is null``: true or false even where the value is missing."""

    operand: Operand

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the value is missing."""
        return self.operand.value(lookup) is None


@dataclass(frozen=True)
class Not:
    """The opposite of an expression; unknown where that is."""

    inner: Expression

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the inner expression does not hold."""
        inner = self.inner.holds(lookup)
        return None if inner is None else not inner


@dataclass(frozen=True)
class And:
    """Parts joined by ``and``."""

    parts: tuple[Expression, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether all parts hold; false if any is, else unknown if any is."""
        results = [part.holds(lookup) for part in self.parts]
        return False if False in results else None if None in results else True


@dataclass(frozen=True)
class Or:
    """Parts joined by ``or``."""

    parts: tuple[Expression, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether some part holds; true if any is, else unknown if any is."""
        results = [part.holds(lookup) for part in self.parts]
        return True if True in results else None if None in results else False


Condition: TypeAlias = Comparison | IsIn | Like | IsNull
Expression: TypeAlias = Condition | Not | And | Or


def conditions_of(expression: Expression) -> Iterator[Condition]:
    """Yield the parts of an expression that compare values."""
    if isinstance(expression, Not):
        yield from conditions_of(expression.inner)
    elif isinstance(expression, And | Or):
        for part in expression.parts:
            yield from conditions_of(part)
    else:
        yield expression


def operands_of(condition: Condition) -> tuple[Operand, ...]:
    """Return what a condition compares, in the order of the text."""
    match condition:
        case Comparison(left, _, right):
            return (left, right)
        case IsIn(operand, values):
            return (operand, *values)
        case Like(operand, pattern):
            return (operand, pattern)
    return (condition.operand,)


def _is_same(left: Scalar, right: Scalar) -> bool:
    return kind_of(left) == kind_of(right) and left == right


def _matches(text: str, pattern: str) -> bool:
    """Whether a text is the pattern's parts in order, with anything for each % between them."""
    first, *others = map(re.escape, pattern.split("%"))
    if not others:
        return re.fullmatch(first, text) is not None
    *middle, last = others
    # an atomic group takes the first place that fits and never tries another, so the time grows with the length only
    return re.fullmatch(f"{first}{''.join(f'(?>.*?{part})' for part in middle)}.*{last}", text, re.DOTALL) is not None

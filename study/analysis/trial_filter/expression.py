"""What an expression is made of, and what it means: true, false, or unknown where a value is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from study.config.hyperparameters import Scalar

Value: TypeAlias = Scalar | None
Lookup: TypeAlias = Callable[[str], Value]
"""Gives the value of a name, None where it is missing."""
SIGNS = ("=", "!=", "<", "<=", ">", ">=")


def kind_of(value: Scalar) -> str:
    """Return the type of a value in words."""
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def present(value: Value) -> Value:
    """Return the value; one that is not a number is missing."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Name:
    """A name; ``at`` is its place in the text."""

    name: str
    at: int

    def value(self, lookup: Lookup) -> Value:
        """Return what a trial has there."""
        return present(lookup(self.name))


@dataclass(frozen=True)
class LiteralValue:
    """A value written out."""

    literal: Scalar
    at: int

    def value(self, lookup: Lookup) -> Value:
        """Return it."""
        return self.literal


Operand: TypeAlias = Name | LiteralValue


@dataclass(frozen=True)
class Comparison:
    """Two operands compared by one of SIGNS."""

    left: Operand
    sign: str
    right: Operand

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether it holds; None where a value is missing or the two have no order."""
        left, right = self.left.value(lookup), self.right.value(lookup)
        if left is None or right is None:
            return None
        same_kind = kind_of(left) == kind_of(right)
        if self.sign in ("=", "!="):
            return (same_kind and left == right) is (self.sign == "=")
        return _ordered(left, self.sign, right) if same_kind else None


@dataclass(frozen=True)
class Within:
    """``operand in (...)``."""

    operand: Operand
    values: tuple[LiteralValue, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the value is one of them; None where it is missing."""
        value = self.operand.value(lookup)
        if value is None:
            return None
        return any(kind_of(one.literal) == kind_of(value) and one.literal == value for one in self.values)


@dataclass(frozen=True)
class Like:
    """``operand like pattern``, where % stands for any characters; upper and lower case differ."""

    operand: Operand
    pattern: LiteralValue

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the whole text matches; None where it is missing or no text."""
        value = self.operand.value(lookup)
        if not isinstance(value, str):
            return None
        return _matches(value, str(self.pattern.literal))


@dataclass(frozen=True)
class IsNull:
    """``operand is null``: the one question that a missing value answers."""

    operand: Operand

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the value is missing."""
        return self.operand.value(lookup) is None


@dataclass(frozen=True)
class Not:
    """The opposite; of unknown it is unknown."""

    inner: Expression

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether the inner expression does not hold."""
        found = self.inner.holds(lookup)
        return None if found is None else not found


@dataclass(frozen=True)
class All:
    """Parts joined by ``and``."""

    parts: tuple[Expression, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether all parts hold; false as soon as one is, else unknown as soon as one is."""
        found = [one.holds(lookup) for one in self.parts]
        return False if False in found else None if None in found else True


@dataclass(frozen=True)
class Some:
    """Parts joined by ``or``."""

    parts: tuple[Expression, ...]

    def holds(self, lookup: Lookup) -> bool | None:
        """Whether some part holds; true as soon as one is, else unknown as soon as one is."""
        found = [one.holds(lookup) for one in self.parts]
        return True if True in found else None if None in found else False


Expression: TypeAlias = Comparison | Within | Like | IsNull | Not | All | Some


def leaves(expression: Expression) -> Iterator[Comparison | Within | Like | IsNull]:
    """Yield the parts of an expression that ask of values."""
    if isinstance(expression, Not):
        yield from leaves(expression.inner)
    elif isinstance(expression, All | Some):
        for one in expression.parts:
            yield from leaves(one)
    else:
        yield expression


def operands(leaf: Comparison | Within | Like | IsNull) -> tuple[Operand, ...]:
    """Return what a leaf compares, the name first as a rule."""
    if isinstance(leaf, Comparison):
        return (leaf.left, leaf.right)
    if isinstance(leaf, Within):
        return (leaf.operand, *leaf.values)
    return (leaf.operand, leaf.pattern) if isinstance(leaf, Like) else (leaf.operand,)


def _matches(text: str, pattern: str) -> bool:
    """Whether a text is the pattern's parts in order, with anything for each % between them."""
    first, *others = pattern.split("%")
    if not others:
        return text == first
    *middle, last = others
    if not text.startswith(first) or not text[len(first) :].endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _ordered(left: Scalar, sign: str, right: Scalar) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        before, same = str(left) < str(right), str(left) == str(right)
    else:
        before, same = left < right, left == right
    match sign:
        case "<":
            return before
        case "<=":
            return before or same
        case ">":
            return not before and not same
    return not before

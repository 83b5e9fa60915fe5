"""A filter of trials: an expression, checked against the names and values that the trials have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from study.analysis.trial_filter.expression import (
    Condition,
    Expression,
    IsNull,
    Like,
    LiteralValue,
    Lookup,
    Name,
    Operand,
    Value,
    conditions_of,
    kind_of,
    operands_of,
)
from study.analysis.trial_filter.fields import KnownNames
from study.analysis.trial_filter.parser import filter_error, parse
from study.utils.suggestions import did_you_mean
from study.utils.text import first_of

Kinds = Mapping[str, list[str]]
"""The types among some values, with up to three values of each as text."""
_LISTED = 40


class TrialFilter:
    """The expression of ``--where``.

    Raises:
        UsageError: it does not follow the grammar.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.expression: Expression = parse(text)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name in the expression."""
        return tuple(dict.fromkeys(operand.name for operand in self._operands() if isinstance(operand, Name)))

    def check(self, known: KnownNames, values: Callable[[str], Iterable[Value]]) -> None:
        """Make sure that the expression can mean something for these trials.

        Args:
            known: the names there are.
            values: returns all values of a name.

        Raises:
            UsageError: a name is unknown, or text is compared with a number.
        """
        for operand in self._operands():
            if isinstance(operand, Name) and not known.knows(operand.name):
                raise filter_error(self.text, operand.at, _unknown_name(operand.name, known))
        kinds = {name: _kinds_of(values(name)) for name in self.names}
        for condition in conditions_of(self.expression):
            self._check_kinds(condition, kinds)

    def holds(self, lookup: Lookup) -> bool:
        """Whether the expression is true, neither false nor unknown."""
        return self.expression.holds(lookup) is True

    def _operands(self) -> Iterator[Operand]:
        for condition in conditions_of(self.expression):
            yield from operands_of(condition)

    def _check_kinds(self, condition: Condition, kinds: Mapping[str, Kinds]) -> None:
        if isinstance(condition, IsNull):
            return
        first, *others = operands_of(condition)
        mine = _kinds(first, kinds)
        if isinstance(condition, Like) and mine and "text" not in mine:
            raise filter_error(self.text, first.at, f"`like` is for text, but {_describe(first, mine)}")
        for other in others:
            theirs = _kinds(other, kinds)
            if mine and theirs and not set(mine) & set(theirs):
                both = f"{_describe(first, mine)}, but {_describe(other, theirs)}"
                raise filter_error(self.text, other.at, both + _hint(mine, other))


def _unknown_name(name: str, known: KnownNames) -> str:
    names = known.listed()
    meant = did_you_mean(name, known.all(), otherwise=".")
    return f"no trial has `{name}`{meant} There are: {first_of(names, _LISTED)}"


def _kinds_of(values: Iterable[Value]) -> Kinds:
    kinds: dict[str, list[str]] = {}
    for value in values:
        if value is None:
            continue
        examples = kinds.setdefault(kind_of(value), [])
        if len(examples) < 3 and str(value) not in examples:
            examples.append(str(value))
    return kinds


def _kinds(operand: Operand, kinds: Mapping[str, Kinds]) -> Kinds:
    if isinstance(operand, LiteralValue):
        return {kind_of(operand.literal): [str(operand.literal)]}
    return kinds[operand.name]


def _describe(operand: Operand, kinds: Kinds) -> str:
    what = " or ".join(kinds)
    if isinstance(operand, LiteralValue):
        return f"{operand.literal!r} is {what}"
    examples = ", ".join(example for shown in kinds.values() for example in shown)
    return f"`{operand.name}` is {what} (such as {examples})"


def _hint(mine: Kinds, other: Operand) -> str:
    if not isinstance(other, LiteralValue):
        return ""
    if "text" in mine:
        return "; texts go between quotes"
    return "; numbers go without quotes" if "a number" in mine and isinstance(other.literal, str) else ""

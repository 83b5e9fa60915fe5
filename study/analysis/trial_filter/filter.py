"""Check an expression against what the trials have, and ask it of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from study.analysis.trial_filter.expression import (
    Comparison,
    Expression,
    IsNull,
    Like,
    LiteralValue,
    Lookup,
    Name,
    Operand,
    Value,
    Within,
    kind_of,
    leaves,
    operands,
)
from study.analysis.trial_filter.fields import Known, kinds_of
from study.analysis.trial_filter.parser import fault, parse

Kinds = Mapping[str, Mapping[str, list[str]]]
_LISTED = 40


class Where:
    """An expression that was read.

    Raises:
        UsageError: it does not follow the grammar.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.expression: Expression = parse(text)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name it asks for."""
        found = (one.name for leaf in leaves(self.expression) for one in operands(leaf) if isinstance(one, Name))
        return tuple(dict.fromkeys(found))

    def check(self, known: Known, values: Callable[[str], Iterable[Value]]) -> None:
        """Make sure that it can mean something for these trials.

        Args:
            known: the names there are.
            values: gives all values of a name.

        Raises:
            UsageError: a name is unknown, or text is compared with a number.
        """
        for leaf in leaves(self.expression):
            for one in operands(leaf):
                if isinstance(one, Name) and not known.knows(one.name):
                    raise fault(self.text, one.at, unknown(one.name, known))
        kinds = {name: kinds_of(values(name)) for name in self.names}
        for leaf in leaves(self.expression):
            self._check_kinds(leaf, kinds)

    def holds(self, lookup: Lookup) -> bool:
        """Whether it is true, neither false nor unknown."""
        return self.expression.holds(lookup) is True

    def _check_kinds(self, leaf: Comparison | Within | Like | IsNull, kinds: Kinds) -> None:
        if isinstance(leaf, IsNull):
            return
        first, *others = operands(leaf)
        mine = _kinds(first, kinds)
        if isinstance(leaf, Like) and mine and "text" not in mine:
            raise fault(self.text, first.at, f"`like` is for text, but {_told(first, mine)}")
        for other in others:
            theirs = _kinds(other, kinds)
            if mine and theirs and not set(mine) & set(theirs):
                both = f"{_told(first, mine)}, but {_told(other, theirs)}"
                raise fault(self.text, other.at, both + _hint(mine, other))


def unknown(name: str, known: Known) -> str:
    """Say that a name is unknown, with the nearest one and what there is."""
    from study.utils.suggestions import did_you_mean

    meant = did_you_mean(name, known.all(), otherwise=".")
    names = known.listed()
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"no trial has `{name}`{meant} There are: {', '.join(names[:_LISTED])}{more}"


def _kinds(operand: Operand, kinds: Kinds) -> Mapping[str, list[str]]:
    if isinstance(operand, LiteralValue):
        return {kind_of(operand.literal): [str(operand.literal)]}
    return kinds[operand.name]


def _told(operand: Operand, kinds: Mapping[str, list[str]]) -> str:
    what = " or ".join(kinds)
    if isinstance(operand, LiteralValue):
        return f"{operand.literal!r} is {what}"
    examples = ", ".join(one for shown in kinds.values() for one in shown)
    return f"`{operand.name}` is {what} (such as {examples})"


def _hint(mine: Mapping[str, list[str]], other: Operand) -> str:
    if not isinstance(other, LiteralValue):
        return ""
    if "text" in mine:
        return "; texts go between quotes"
    return "; numbers go without quotes" if "a number" in mine and isinstance(other.literal, str) else ""

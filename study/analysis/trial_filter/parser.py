"""The grammar of a trial filter: ``or`` binds weakest, then ``and``, then ``not``."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.analysis.trial_filter.expression import (
    And,
    Comparison,
    Expression,
    IsIn,
    IsNull,
    Like,
    LiteralValue,
    Name,
    Not,
    Operand,
    Or,
)
from study.errors import UsageError

if TYPE_CHECKING:
    from pyparsing import ParserElement, ParseResults

WORDS = ("and", "or", "not", "in", "like", "is", "null", "true", "false")
_MAX_CHARACTERS = 10_000
_MAX_DEPTH = 20
_ALIASES = {"==": "=", "<>": "!="}
_WORD_END = r"(?![\w.])"
_NUMBER = rf"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?{_WORD_END}"
_TEXT = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
_SIGN = "<=|>=|==|!=|<>|=|<|>"
_NAME = rf"(?:(?:params|metrics)\.)?`[^`]+`|(?!(?i:{'|'.join(WORDS)}){_WORD_END})[^\W\d]\w*(?:\.\w+)*"
_TOKEN = re.compile(rf"{_NUMBER}|{_TEXT}|{_NAME}|{_SIGN}|(?:{'|'.join(WORDS)}){_WORD_END}|[(),]", re.IGNORECASE)
_AFTER_OPERAND = "one of = != < <= > >=, `in`, `like` or `is`"
_START = "a name, a value, `not` or `(`"


def filter_error(text: str, at: int, message: str) -> UsageError:
    """Return the error of an expression, with a mark below the place it is about."""
    line = re.sub(r"\s", " ", text)
    start = max(0, at - 60)
    shown = ("..." if start else "") + line[start : at + 60] + ("..." if at + 60 < len(line) else "")
    mark = " " * (at - start + (3 if start else 0)) + "^"
    return UsageError(f"--where, character {at + 1}: {message}\n  {shown}\n  {mark}")


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        UsageError: it does not follow the grammar; the message has the place and what was expected there.
    """
    from pyparsing import ParseBaseException  # here, or every command would load it

    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"--where must have at most {_MAX_CHARACTERS} characters, got {len(text)}")
    try:
        expression: Expression = _grammar().parse_string(text)[0]
    except ParseBaseException as exc:
        at = exc.loc + len(text[exc.loc :]) - len(text[exc.loc :].lstrip())
        raise filter_error(text, at, _describe(text, at, exc.msg)) from None
    return expression


@functools.cache
def _grammar() -> ParserElement:
    import pyparsing as pp

    def word(name: str) -> ParserElement:
        return pp.Regex(rf"(?i:{name}){_WORD_END}").suppress().set_name(f"`{name}`")

    def sign(text: str, name: str = "") -> ParserElement:
        return pp.Literal(text).suppress().set_name(name or f"`{text}`")

    number = pp.Regex(_NUMBER).set_parse_action(_number)
    number.add_condition(_is_finite, message="a number must be finite", fatal=True)
    text = pp.Regex(_TEXT).set_parse_action(lambda _, at, tokens: LiteralValue(_unquote(tokens[0]), at))
    boolean = pp.Regex(rf"(?i:true|false){_WORD_END}")
    boolean.set_parse_action(lambda _, at, tokens: LiteralValue(tokens[0].lower() == "true", at))
    name = pp.Regex(_NAME).set_parse_action(lambda _, at, tokens: Name(tokens[0].replace("`", ""), at))
    literal = (number | text | boolean).set_name("a value")
    operand = name | literal

    comparison = pp.Regex(_SIGN) - operand.copy().set_name("a value or a name")
    values = literal + (sign(",") - literal)[...]
    is_in = word("in") - sign("(") - values - sign(")", "`,` or `)`")
    like = word("like") - text.copy().set_name("a text such as 'flip%'")
    is_null = word("is") - pp.Opt(word("not").set_parse_action(lambda: Not)) - word("null")
    is_not = word("not") - (is_in | like).set_name("`in` or `like`")
    test = (comparison | is_in | like | is_null | is_not).set_name(_AFTER_OPERAND)

    expression = pp.Forward()
    opening = sign("(").add_condition(_is_shallow, message=f"brackets must be at most {_MAX_DEPTH} deep", fatal=True)
    plain = (opening - expression - sign(")")) | (operand - test).set_parse_action(lambda tokens: tokens[1](tokens[0]))
    negated = word("not").set_parse_action(lambda: Not)[...] + plain.set_name(_START)
    both = negated + (word("and") - negated)[...]
    expression <<= both + (word("or") - both)[...]

    comparison.set_parse_action(_comparison)
    is_in.set_parse_action(lambda tokens: lambda left: IsIn(left, tuple(tokens)))
    like.set_parse_action(lambda tokens: lambda left: Like(left, tokens[0]))
    is_null.set_parse_action(lambda tokens: lambda left: Not(IsNull(left)) if tokens else IsNull(left))
    is_not.set_parse_action(lambda tokens: lambda left: Not(tokens[0](left)))
    negated.set_parse_action(lambda tokens: Not(tokens[-1]) if len(tokens) % 2 == 0 else tokens[-1])
    both.set_parse_action(lambda tokens: And(tuple(tokens)) if len(tokens) > 1 else tokens[0])
    expression.set_parse_action(lambda tokens: Or(tuple(tokens)) if len(tokens) > 1 else tokens[0])
    return (expression + pp.StringEnd().set_name("`and`, `or` or the end")).parse_with_tabs()


def _number(_: str, at: int, tokens: ParseResults) -> LiteralValue:
    try:
        return LiteralValue(int(tokens[0]), at)
    except ValueError:
        return LiteralValue(float(tokens[0]), at)


def _is_finite(tokens: ParseResults) -> bool:
    literal = tokens[0].literal
    return isinstance(literal, int) or math.isfinite(literal)  # an int may be too large for a float


def _is_shallow(text: str, at: int, _: ParseResults) -> bool:
    """Whether an opening bracket lies in few enough others; deeper ones would exceed Python's recursion limit."""
    plain = re.sub(rf"{_TEXT}|`[^`]+`", "", text[:at])
    return plain.count("(") - plain.count(")") < _MAX_DEPTH


def _comparison(tokens: ParseResults) -> Callable[[Operand], Comparison]:
    sign, right = tokens
    return lambda left: Comparison(left, _ALIASES.get(sign, sign), right)


def _unquote(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _describe(text: str, at: int, message: str) -> str:
    """Return what is wrong at a place: no token, or not the one that was expected there."""
    token = _TOKEN.match(text, at)
    if not message.startswith("Expected "):
        return message
    if token is None and at < len(text):
        return _describe_character(text[at])
    return f"expected {message.removeprefix('Expected ')}, got {f'`{token[0]}`' if token else 'the end'}"


def _describe_character(character: str) -> str:
    if character in "'\"":
        return f"a text must end with the quote it begins with, but no {character} follows"
    if character == "`":
        return "a quoted name must be closed by another ` and have a character in between"
    if character.isdigit() or character in "+-.":
        return "this is no number; write one such as 34, 0.5 or 1e-3, and names with odd characters between `"
    return f"`{character}` means nothing here; names with odd characters go between `, texts between quotes"

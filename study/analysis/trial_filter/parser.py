"""Read an expression by recursive descent: ``or`` binds weakest, then ``and``, then ``not``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from study.analysis.trial_filter.expression import (
    All,
    Comparison,
    Expression,
    IsNull,
    Like,
    LiteralValue,
    Name,
    Not,
    Operand,
    Some,
    Within,
)
from study.config.hyperparameters import Scalar
from study.errors import UsageError

Kind = Literal["name", "value", "word", "sign", "end"]
WORDS = ("and", "or", "not", "in", "like", "is", "null", "true", "false")
_MAX_CHARACTERS = 10_000
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
  | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
  | (?P<quoted>(?:(?:params|metrics)\.)?`[^`]+`)
  | (?P<name>[^\W\d]\w*(?:\.\w+)*)
  | (?P<sign><=|>=|==|!=|<>|=|<|>|\(|\)|,)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """One word of an expression; ``at`` counts characters from 0, ``value`` is that of a literal."""

    kind: Kind
    text: str
    at: int
    value: Scalar | None = None

    def says(self) -> str:
        """Return how a message names it."""
        return "the end" if self.kind == "end" else f"`{self.text}`"


def fault(text: str, at: int, message: str) -> UsageError:
    """Return the error of an expression, with a mark below the place it is about."""
    line = "".join(" " if one.isspace() else one for one in text)
    start = max(0, at - 60)
    shown = ("..." if start else "") + line[start : at + 60] + ("..." if at + 60 < len(line) else "")
    mark = " " * (at - start + (3 if start else 0)) + "^"
    return UsageError(f"--where, character {at + 1}: {message}\n  {shown}\n  {mark}")


def tokens(text: str) -> list[Token]:
    """Return the tokens of an expression, the last of kind "end".

    Raises:
        UsageError: some character belongs to none, a quote is not closed, or the text is endless.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UsageError(f"--where must have at most {_MAX_CHARACTERS} characters, got {len(text)}")
    return [*_cut(text), Token("end", "", len(text))]


def _cut(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise fault(text, at, _reason(text, at))
        if found.lastgroup != "space":
            yield _token(text, found)
        at = found.end()


def _token(text: str, found: re.Match[str]) -> Token:
    word, at = found.group(), found.start()
    match found.lastgroup:
        case "number":
            return Token("value", word, at, _number(text, word, at))
        case "text":
            return Token("value", word, at, word[1:-1].replace(word[0] * 2, word[0]))
        case "quoted":
            return Token("name", word.replace("`", ""), at)
        case "sign":
            return Token("sign", word, at)
    lower = word.lower()
    if lower in ("true", "false"):
        return Token("value", word, at, lower == "true")
    return Token("word", lower, at) if lower in WORDS else Token("name", word, at)


def _number(text: str, word: str, at: int) -> float | int:
    try:
        return int(word)
    except ValueError:
        value = float(word)
    if value in (float("inf"), float("-inf")):
        raise fault(text, at, f"a number must be finite, got {word}")
    return value


def _reason(text: str, at: int) -> str:
    char = text[at]
    if char in "'\"":
        return f"a text must end with the quote it begins with, but no {char} follows"
    if char == "`":
        return "a quoted name must be closed by another ` and have a character in between"
    if char.isdigit() or char in "+-.":
        return "this is no number; write one such as 34, 0.5 or 1e-3, and names with odd characters between `"
    return f"`{char}` means nothing here; names with odd characters go between `, texts between quotes"


_MAX_DEPTH = 50
_SIGNS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_AFTER_OPERAND = "one of = != < <= > >=, `in`, `like` or `is`"


def parse(text: str) -> Expression:
    """Return what a text says.

    Raises:
        UsageError: it does not follow the grammar; the message has the place and what was expected there.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        found = self._some()
        if self._next.kind != "end":
            raise self._expected("`and`, `or` or the end")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _takes(self, text: str) -> bool:
        """Whether the next token is this word or sign, which is then taken."""
        found = self._next.kind in ("word", "sign") and self._next.text == text
        self._at += found
        return found

    def _expected(self, what: str) -> UsageError:
        return fault(self._text, self._next.at, f"expected {what}, got {self._next.says()}")

    def _require(self, text: str) -> None:
        if not self._takes(text):
            raise self._expected(f"`{text}`")

    def _some(self) -> Expression:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self) -> Expression:
        parts = [self._part()]
        while self._takes("and"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise fault(self._text, self._next.at, f"brackets and `not` must be at most {_MAX_DEPTH} deep")
        found = self._negated_or_bracketed()
        self._depth -= 1
        return found

    def _negated_or_bracketed(self) -> Expression:
        if self._takes("not"):
            return Not(self._part())
        if self._takes("("):
            found = self._some()
            self._require(")")
            return found
        return self._question()

    def _question(self) -> Expression:
        operand = self._operand("a name, a value, `not` or `(`")
        if self._next.text in _SIGNS and self._next.kind == "sign":
            sign = _SIGNS[self._take().text]
            return Comparison(operand, sign, self._operand("a value or a name"))
        if self._takes("is"):
            negated = self._takes("not")
            self._require("null")
            return Not(IsNull(operand)) if negated else IsNull(operand)
        negated = self._takes("not")
        if self._takes("in"):
            found: Expression = Within(operand, self._values())
        elif self._takes("like"):
            found = Like(operand, self._pattern())
        else:
            raise self._expected("`in` or `like`" if negated else _AFTER_OPERAND)
        return Not(found) if negated else found

    def _operand(self, what: str) -> Operand:
        if self._next.kind == "name":
            token = self._take()
            return Name(token.text, token.at)
        return self._literal(what)

    def _literal(self, what: str) -> LiteralValue:
        if self._next.kind != "value":
            raise self._expected(what)
        token = self._take()
        assert token.value is not None
        return LiteralValue(token.value, token.at)

    def _values(self) -> tuple[LiteralValue, ...]:
        self._require("(")
        found = [self._literal("a value")]
        while self._takes(","):
            found.append(self._literal("a value"))
        if not self._takes(")"):
            raise self._expected("`,` or `)`")
        return tuple(found)

    def _pattern(self) -> LiteralValue:
        found = self._literal("a text such as 'flip%'") if self._next.kind == "value" else None
        if found is None or not isinstance(found.literal, str):
            if found is not None:
                self._at -= 1
            raise self._expected("a text such as 'flip%'")
        return found

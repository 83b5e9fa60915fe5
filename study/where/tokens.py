"""Cut the text of an expression into tokens, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from study.errors import UsageError
from study.hyperparameters import Scalar

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

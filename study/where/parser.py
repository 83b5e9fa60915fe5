"""Read an expression by recursive descent: ``or`` binds weakest, then ``and``, then ``not``."""

from __future__ import annotations

from study.errors import UsageError
from study.where.syntax import All, Comparison, Expression, IsNull, Like, Literal, Name, Not, Operand, Some, Within
from study.where.tokens import Token, fault, tokens

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

    def _literal(self, what: str) -> Literal:
        if self._next.kind != "value":
            raise self._expected(what)
        token = self._take()
        assert token.value is not None
        return Literal(token.value, token.at)

    def _values(self) -> tuple[Literal, ...]:
        self._require("(")
        found = [self._literal("a value")]
        while self._takes(","):
            found.append(self._literal("a value"))
        if not self._takes(")"):
            raise self._expected("`,` or `)`")
        return tuple(found)

    def _pattern(self) -> Literal:
        found = self._literal("a text such as 'flip%'") if self._next.kind == "value" else None
        if found is None or not isinstance(found.literal, str):
            if found is not None:
                self._at -= 1
            raise self._expected("a text such as 'flip%'")
        return found

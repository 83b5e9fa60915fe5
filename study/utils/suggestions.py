"""The nearest known name to one that is unknown, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LEAST_LIKENESS = 0.55


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one, None if none is; upper and lower case are the same."""
    lowered = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=_LEAST_LIKENESS)
    return lowered[nearest[0]] if nearest else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean `x`?", or what is to stand there instead if no known name is near."""
    near = nearest_name(name, known)
    return f"; did you mean `{near}`?" if near else otherwise

"""Keep a password that stands in a command line out of the list of processes, which everybody can read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

_CARRIED = "_STUDY_TRACKING_URI"
_OPTION = "--tracking-uri"


def hide_passwords() -> None:
    """Begin this process again with masked words if a tracking URI has a password; the URI travels unseen.

    Raises:
        UsageError: one is no URI.
    """
    if not (given := _uris(sys.argv)):
        return
    from tracking.uri import mask_uri, require_uri

    for uri in given:
        require_uri(uri)
    if (carried := os.environ.pop(_CARRIED, None)) is not None:
        sys.argv = _with_uri(sys.argv, lambda word: carried if word == mask_uri(carried) else word)
        return
    if mask_uri(given[-1]) == given[-1]:
        return
    words = _with_uri(sys.orig_argv, mask_uri)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [sys.executable, *words[1:]], {**os.environ, _CARRIED: given[-1]})


def _uris(words: Sequence[str]) -> list[str]:
    found: list[str] = []

    def keep(word: str) -> str:
        found.append(word)
        return word

    _with_uri(words, keep)
    return found


def _with_uri(words: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """Return the words with the values of the option changed, given as the next word or behind ``=``."""
    result = []
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == _OPTION and equals:
            result.append(f"{name}={change(value)}")
        else:
            result.append(change(word) if at and words[at - 1] == _OPTION else word)
    return result

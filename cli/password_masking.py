"""Keep the password of a tracking URI out of the process list."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

_VARIABLE = "_STUDY_TRACKING_URI"
_OPTION = "--tracking-uri"


def hide_passwords() -> None:
    """Start this process again with a masked command line if a tracking URI in it has a password.

    The whole URI is passed on in an environment variable, which the new process removes.

    Raises:
        UsageError: a value of the option is no URI.
    """
    if not (uris := _tracking_uris(sys.argv)):
        return
    from tracking.tracking_uri import mask_uri, require_uri

    for uri in uris:
        require_uri(uri)
    if (whole := os.environ.pop(_VARIABLE, None)) is not None:
        sys.argv = _replace_uris(sys.argv, lambda uri: whole if uri == mask_uri(whole) else uri)
        return
    if mask_uri(uris[-1]) == uris[-1]:
        return
    arguments = _replace_uris(sys.orig_argv, mask_uri)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [sys.executable, *arguments[1:]], {**os.environ, _VARIABLE: uris[-1]})


def _tracking_uris(arguments: Sequence[str]) -> list[str]:
    uris: list[str] = []

    def keep(uri: str) -> str:
        uris.append(uri)
        return uri

    _replace_uris(arguments, keep)
    return uris


def _replace_uris(arguments: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """Return the arguments with each value of the option changed, be it the next argument or behind ``=``."""
    result = []
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == _OPTION and equals:
            result.append(f"{name}={change(value)}")
        else:
            result.append(change(argument) if at and arguments[at - 1] == _OPTION else argument)
    return result

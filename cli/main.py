"""The `study` program: its commands, its exit codes, and passwords kept out of the process list."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import typer

from cli.commands import compare, control, data, diff, export, plan, rerun, run, show, ui
from study.errors import SpecError, StudyError

_CARRIED = "_STUDY_TRACKING_URI"
_OPTION = "--tracking-uri"


def hide_passwords() -> None:
    """Begin this process again with masked words if a tracking URI has a password; the URI travels unseen.

    Raises:
        UsageError: one is no URI.
    """
    if not (given := _uris(sys.argv)):
        return
    from tracking.tracking_uri import mask_uri, require_uri

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


app = typer.Typer(
    name="study",
    help="Run hyperparameter studies of image classifiers, compare their runs, hand over the best checkpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (run, control, plan, show, compare, diff, rerun, export, ui):
    command.register(app)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run a command; a StudyError is one message and its exit code, a bug keeps its traceback."""
    try:
        hide_passwords()
        app()
    except StudyError as error:
        # Located faults stand as they are, so that editors can jump to them.
        print(error if isinstance(error, SpecError) else f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

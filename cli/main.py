"""Assemble the command line; every command lives in a module of its own and imports what is heavy only when run."""

from __future__ import annotations

import sys

import typer

from cli import (
    compare_command,
    control_commands,
    data_commands,
    diff_command,
    export_commands,
    plan_commands,
    read_commands,
    rerun_command,
    run_commands,
    show_command,
    ui_command,
)
from cli.secrecy import hide_passwords
from study.errors import SpecError, StudyError

app = typer.Typer(
    name="study",
    help="Run hyperparameter studies of image classifiers, compare their runs, hand over the best checkpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (
    run_commands, control_commands, plan_commands, read_commands, show_command, compare_command, diff_command,
    rerun_command, export_commands, ui_command,
):  # fmt: skip
    commands.register(app)
app.add_typer(data_commands.app, name="data")


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

"""The program `study`: its commands and its exit codes."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable

import typer

from cli.commands import confirm, data, extend, plan, rerun, run, show, sync, ui
from cli.commands.bundles import evaluate, export, predict, serve, verify, watch
from cli.commands.results import best, compare, diff, effects, judge, power, report
from cli.password_masking import hide_passwords
from cli.supervisor import say_goodbye, supervise
from study.errors import SpecError, StudyError
from study.files import OutsideError, ensure_home
from study.utils.streams import guard_standard_streams, plain_text

app = typer.Typer(
    name="study",
    help="Run hyperparameter studies of image classifiers, compare their runs, hand over the best checkpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "validate": plan.validate,
    "resume": run.resume,
    "extend": extend.extend,
    "confirm": confirm.confirm,
    "stop": run.stop,
    "plan": plan.plan,
    "list": show.list_studies,
    "show": show.show,
    "best": best.best,
    "spaces": show.spaces,
    "compare": compare.compare,
    "diff": diff.diff,
    "effects": effects.effects,
    "judge": judge.judge,
    "power": power.power,
    "report": report.report,
    "rerun": rerun.rerun,
    "export-best": export.export_best,
    "verify": verify.verify,
    "predict": predict.predict,
    "evaluate": evaluate.evaluate,
    "watch": watch.watch,
    "serve": serve.serve,
    "sync": sync.sync,
    "ui": ui.ui,
}
_OF_THE_SYSTEM = (
    errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.ESTALE,
)  # fmt: skip
"""Faults of files that are no fault of ours, wherever they come from."""
_OF_A_DRIVER = (["run"], ["resume"], ["extend"], ["confirm"])
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run a command; a StudyError is one message and its exit code, a bug keeps its traceback."""
    guard_standard_streams()
    try:
        ensure_home()
        hide_passwords()
        if sys.argv[1:2] in _OF_A_DRIVER:
            supervise()
        else:  # matrices are small here, and threads that wait for one another take twice as long beside a study
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            app()
        finally:
            sys.stdout.flush()
    except OutsideError as error:
        print(plain_text(f"error: {error}"), file=sys.stderr)
        sys.exit(StudyError.exit_code)
    except StudyError as error:
        # Located faults stand as they are, so that editors can jump to them.
        print(plain_text(str(error) if isinstance(error, SpecError) else f"error: {error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OF_THE_SYSTEM:
            raise
        where = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        print(plain_text(f"error: the system refuses a file or folder, {error.strerror}{where}"), file=sys.stderr)
        sys.exit(1)
    finally:
        say_goodbye()
        if sys.argv[1:2] in _OF_A_DRIVER:
            gc.freeze()  # or the interpreter would look for garbage in all that Ray is, for most of a second


if __name__ == "__main__":
    main()

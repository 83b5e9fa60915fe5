"""Names of trials on the command line: STUDY/TRIAL, or an MLflow run id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cli.queries.study_handle import open_study, resolve_name
from study.errors import StudyStorageError, UsageError
from study.paths import Layout
from study.utils.suggestions import did_you_mean
from study.utils.text import first_of

if TYPE_CHECKING:
    from cli.queries.study_handle import StudyInFolder
    from study.records import TrialRecord

_SHOWN_RUNS = 10
_FEWEST = 6
_RUN_ID = re.compile(rf"[0-9a-f]{{{_FEWEST},64}}")
_TRIAL = re.compile(r"(?P<name>.+)[/:](?P<trial>\d{1,9})", re.DOTALL)
TRIAL_SYNTAX = f"a trial is STUDY/TRIAL such as ablation/3, or its MLflow run id (at least {_FEWEST} characters of it)"


def find_trial(results: Path, text: str, *, epochs: bool = False) -> tuple[StudyInFolder, TrialRecord]:
    """Return the study and the trial that a text names, with its epochs if they are asked for.

    Raises:
        UsageError: it is written otherwise, or begins several run ids.
        StudyStorageError: there is no such study, trial or run.
    """
    name, trial = requested_trial(results, text)
    study = open_study(results, name, epochs=epochs)
    if trial >= len(study.records):
        there = f"0 to {len(study.records) - 1}" if study.records else "none yet"
        raise StudyStorageError(f"no trial {trial} in `{name}`; there are: {there}")
    return study, study.records[trial]


def requested_trial(results: Path, text: str) -> tuple[str, int]:
    """Return the study and the number of the trial that a text names.

    Raises:
        UsageError: it is written otherwise, or begins several run ids.
        StudyStorageError: there is no such study or run.
    """
    if (named := trial_named(text)) is not None:
        return resolve_name(results, named[0]), named[1]
    if is_run_id(text):
        return _find_run(results, text)
    resolve_name(results, None)  # raises where there is no study at all
    raise UsageError(f"{TRIAL_SYNTAX}, got `{text}`")


def trial_named(text: str) -> tuple[str, int] | None:
    """Return the study and the trial that a text names by its number, None for a text that does not."""
    match = _TRIAL.fullmatch(text)
    return None if match is None else (match["name"], int(match["trial"]))


def is_study(results: Path, text: str) -> bool:
    """Whether a study has this name."""
    return any(name == text for name, _ in Layout(results).studies())


def is_run_id(text: str) -> bool:
    """Whether a text can be a run id, or the beginning of one."""
    return _RUN_ID.fullmatch(text) is not None


def _find_run(results: Path, text: str) -> tuple[str, int]:
    from tracking.run_ids import load_runs

    resolve_name(results, None)  # raises where there is no study at all
    trials: dict[str, tuple[str, int]] = {}
    for name, layout in Layout(results).studies():
        runs = load_runs(layout.runs)
        trials |= {run_id: (name, trial) for trial, run_id in (runs.trials if runs else {}).items()}
    matching = [text] if text in trials else [run_id for run_id in trials if run_id.startswith(text)]
    if len(matching) == 1:
        return trials[matching[0]]
    shown = matching or list(trials)
    listed = first_of([f"{run_id} ({'/'.join(map(str, trials[run_id]))})" for run_id in shown], _SHOWN_RUNS)
    if matching:
        raise UsageError(f"a run must be named so that only one is meant, but several begin with `{text}`: {listed}")
    raise StudyStorageError(
        f"no MLflow run `{text}` in {results}{did_you_mean(text, shown)}; there are: {listed or 'none'}; "
        "STUDY/TRIAL such as ablation/3 names a trial too"
    )

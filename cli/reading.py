"""Read studies for the commands that show them: from the results folder, or from an MLflow server if one is named."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from study.errors import LedgerError
from study.layout import Layout, StudyLayout
from study.records import StudySummary, TrialRecord

if TYPE_CHECKING:
    from study.ledger import Ledger


@dataclass(frozen=True)
class OpenStudy:
    """One study as it stands now; its trials know their MLflow runs where those exist."""

    ledger: Ledger
    layout: StudyLayout
    records: list[TrialRecord]
    state: str

    @property
    def name(self) -> str:
        """The study's name."""
        return self.ledger.name


def resolve_name(results: Path, name: str | None) -> str:
    """Return the name, or that of the newest study.

    Raises:
        LedgerError: there is no such study, or none at all.
    """
    known = [found for found, _ in Layout(results).studies()]
    if name is None and known:
        return known[0]
    if name is None:
        raise LedgerError(f"no study in {results}; `study run FILE` makes one, --results DIR looks elsewhere")
    if name not in known:
        from study.spec_file.words import did_you_mean

        listed = ", ".join(known[:10]) or "none"
        raise LedgerError(f"no study `{name}` in {results}{did_you_mean(name, known)}; there are: {listed}")
    return name


def open_study(results: Path, name: str | None) -> OpenStudy:
    """Open a study to read it; a running one may be read at any time.

    Raises:
        LedgerError: there is no such study, or its ledger is damaged.
    """
    from study.ledger import Ledger, is_driven
    from tracking.runs import load_runs

    layout = Layout(results).study(resolve_name(results, name))
    ledger = Ledger.open(layout)
    runs = load_runs(layout.runs)
    known = runs.trials if runs else {}
    records = [replace(record, run_id=known.get(record.trial)) for record in ledger.records()]
    return OpenStudy(ledger, layout, records, "running" if is_driven(layout) else _state_at_rest(ledger))


def _state_at_rest(ledger: Ledger) -> str:
    """Say how a study stands that nobody drives: stopped between trials, or interrupted in the middle of something."""
    if ledger.is_finished:
        return "finished"
    counts = ledger.counts()
    ended = sum(count for state, count in counts.items() if state.is_finished)
    return "stopped" if ended == sum(counts.values()) < ledger.planned else "interrupted"


def checkpoints_by_run(results: Path) -> dict[str, str]:
    """Return the path or URI of the checkpoint of every MLflow run in a results folder that ended with one."""
    found: dict[str, str] = {}
    for name, _ in Layout(results).studies():
        with suppress(LedgerError):  # another study's damaged ledger is no reason to stop
            records = open_study(results, name).records
            found |= {one.run_id: one.checkpoint for one in records if one.run_id and one.checkpoint}
    return found


def summaries(results: Path) -> list[StudySummary]:
    """Return one line about every study, the newest first."""
    from study.ranking import summarize

    found = [open_study(results, name) for name, _ in Layout(results).studies()]
    return [
        summarize(one.ledger.spec, one.state, one.records, one.ledger.created_at_s, one.ledger.planned) for one in found
    ]

"""Read studies for the commands that show them: from the results folder, or from an MLflow server if one is named."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from study.errors import LedgerError
from study.layout import Layout, StudyLayout
from study.records import StudySummary, TrialRecord, TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from study.index import StudyView
    from study.ledger import Ledger


@dataclass(frozen=True)
class OpenStudy:
    """One study with the ledger it can go on with; its trials know their MLflow runs where those exist."""

    ledger: Ledger
    layout: StudyLayout
    records: list[TrialRecord]
    state: str

    @property
    def name(self) -> str:
        """The study's name."""
        return self.ledger.name


@dataclass(frozen=True)
class SeenStudy:
    """One study as it stands now, only to be looked at; its trials know their MLflow runs where those exist."""

    facts: StudyView
    layout: StudyLayout
    state: str

    @property
    def name(self) -> str:
        """The study's name."""
        return self.facts.name

    @property
    def records(self) -> list[TrialRecord]:
        """Every trial, without its epochs unless they were asked for."""
        return self.facts.records


@dataclass(frozen=True)
class DamagedStudy:
    """A study of which no more can be read than why."""

    name: str
    reason: str


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
    """Open a study to do something with it.

    Raises:
        LedgerError: there is no such study, or its ledger is damaged.
    """
    from study.ledger import Ledger

    layout = Layout(results).study(resolve_name(results, name))
    ledger = Ledger.open(layout)
    known = _run_ids(layout)
    records = [replace(record, run_id=known.get(record.trial)) for record in ledger.records()]
    return OpenStudy(ledger, layout, records, _state(layout, ledger.is_finished, ledger.counts(), ledger.planned))


def see_study(results: Path, name: str | None, *, epochs: bool = False) -> SeenStudy:
    """Look at a study; a running one may be looked at at any time.

    Args:
        results: the folder of all studies.
        name: its name; None means the newest.
        epochs: whether the trials are to have their epochs, which takes longer.

    Raises:
        LedgerError: there is no such study, or its ledger is damaged.
    """
    from study.index import read_study

    layout = Layout(results).study(resolve_name(results, name))
    facts = read_study(layout, _run_ids(layout), epochs=epochs)
    return SeenStudy(facts, layout, _state(layout, facts.is_finished, facts.counts, facts.planned))


def checkpoints_by_run(results: Path) -> dict[str, str]:
    """Return the path or URI of the checkpoint of every MLflow run in a results folder that ended with one."""
    found: dict[str, str] = {}
    for name, _ in Layout(results).studies():
        with suppress(LedgerError):  # another study's damaged ledger is no reason to stop
            records = see_study(results, name).records
            found |= {one.run_id: one.checkpoint for one in records if one.run_id and one.checkpoint}
    return found


def summaries(results: Path) -> list[StudySummary | DamagedStudy]:
    """Return one line about every study, the newest first; a damaged one hides no other."""
    found: list[StudySummary | DamagedStudy] = []
    for name, _ in Layout(results).studies():
        try:
            found.append(summary_of(see_study(results, name)))
        except LedgerError as error:
            found.append(DamagedStudy(name, str(error)))
    return found


def summary_of(study: SeenStudy) -> StudySummary:
    """Return one line about a study."""
    from study.ranking import summarize

    facts = study.facts
    return summarize(facts.spec, study.state, study.records, facts.created_at_s, facts.planned)


def _run_ids(layout: StudyLayout) -> Mapping[int, str]:
    from tracking.runs import load_runs

    runs = load_runs(layout.runs)
    return runs.trials if runs else {}


def _state(layout: StudyLayout, is_finished: bool, counts: Mapping[TrialState, int], planned: int) -> str:
    """Say how a study stands: running, finished, stopped between trials, or interrupted in the middle of something."""
    from study.ledger import is_driven

    if is_driven(layout):
        return "running"
    if is_finished:
        return "finished"
    ended = sum(count for state, count in counts.items() if state.is_finished)
    return "stopped" if ended == sum(counts.values()) < planned else "interrupted"

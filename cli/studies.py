"""Read studies for the commands that show them: from the results folder, or from an MLflow server if one is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from study.config.search_config import Objective
from study.config.study_config import StudySpec
from study.errors import StudyStorageError, UsageError
from study.metrics import shifted_sets
from study.paths import Layout, StudyLayout
from study.records import FinalLook, StudySummary, TrialRecord, TrialState

if TYPE_CHECKING:
    from study.storage.reader import StudyView
    from study.storage.study_storage import StudyStorage
    from tracking.reader.study import ServedStudy


@dataclass(frozen=True)
class OpenStudy:
    """One study with the storage it can go on with; its trials know their MLflow runs where those exist."""

    storage: StudyStorage
    layout: StudyLayout
    records: list[TrialRecord]
    state: str

    @property
    def name(self) -> str:
        """The study's name."""
        return self.storage.name


@dataclass(frozen=True)
class ReadStudy:
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
        StudyStorageError: there is no such study, or none at all.
    """
    known = [found for found, _ in Layout(results).studies()]
    if name is None and known:
        return known[0]
    if name is None:
        raise StudyStorageError(f"no study in {results}; `study run FILE` makes one, --results DIR looks elsewhere")
    if name not in known:
        from study.utils.suggestions import did_you_mean

        listed = ", ".join(known[:10]) or "none"
        raise StudyStorageError(f"no study `{name}` in {results}{did_you_mean(name, known)}; there are: {listed}")
    return name


def open_study(results: Path, name: str | None) -> OpenStudy:
    """Open a study to do something with it.

    Raises:
        StudyStorageError: there is no such study, or its storage is damaged.
    """
    from study.storage.study_storage import StudyStorage

    layout = Layout(results).study(resolve_name(results, name))
    storage = StudyStorage.open(layout)
    known = _run_ids(layout)
    records = [replace(record, run_id=known.get(record.trial)) for record in storage.records()]
    return OpenStudy(storage, layout, records, _state(layout, storage.is_finished, storage.counts(), storage.planned))


def see_study(results: Path, name: str | None, *, epochs: bool = False) -> ReadStudy:
    """Look at a study; a running one may be looked at at any time.

    Args:
        results: the folder of all studies.
        name: its name; None means the newest.
        epochs: whether the trials are to have their epochs, which takes longer.

    Raises:
        StudyStorageError: there is no such study, or its storage is damaged.
    """
    from study.storage.reader import read_study

    layout = Layout(results).study(resolve_name(results, name))
    facts = read_study(layout, _run_ids(layout), epochs=epochs)
    return ReadStudy(facts, layout, _state(layout, facts.is_finished, facts.counts, facts.planned))


def checkpoints_by_run(results: Path) -> dict[str, str]:
    """Return the path or URI of the checkpoint of every MLflow run in a results folder that ended with one."""
    found: dict[str, str] = {}
    for name, _ in Layout(results).studies():
        with suppress(StudyStorageError):  # another study's damaged storage is no reason to stop
            records = see_study(results, name).records
            found |= {one.run_id: one.checkpoint for one in records if one.run_id and one.checkpoint}
    return found


def summaries(results: Path) -> list[StudySummary | DamagedStudy]:
    """Return one line about every study, the newest first; a damaged one hides no other."""
    found: list[StudySummary | DamagedStudy] = []
    for name, _ in Layout(results).studies():
        try:
            found.append(summary_of(see_study(results, name)))
        except StudyStorageError as error:
            found.append(DamagedStudy(name, str(error)))
    return found


def summary_of(study: ReadStudy) -> StudySummary:
    """Return one line about a study."""
    from study.analysis.ranking import summarize

    facts = study.facts
    return summarize(facts.spec, study.state, study.records, facts.created_at_s, facts.planned)


def _run_ids(layout: StudyLayout) -> Mapping[int, str]:
    from tracking.run_ids import load_runs

    runs = load_runs(layout.runs)
    return runs.trials if runs else {}


def _state(layout: StudyLayout, is_finished: bool, counts: Mapping[TrialState, int], planned: int) -> str:
    """Say how a study stands: running, finished, stopped between trials, or interrupted in the middle of something."""
    from study.storage.lock import is_driven

    if is_driven(layout):
        return "running"
    if is_finished:
        return "finished"
    ended = sum(count for state, count in counts.items() if state.is_finished)
    return "stopped" if ended == sum(counts.values()) < planned else "interrupted"


SHOWN_RUNS = 10
_FEWEST = 6
_RUN_ID = re.compile(rf"[0-9a-f]{{{_FEWEST},64}}")
_TRIAL = re.compile(r"(?P<name>.+)[/:](?P<trial>\d{1,9})", re.DOTALL)
HOW = f"a trial is STUDY/TRIAL such as ablation/3, or its MLflow run id (at least {_FEWEST} characters of it)"


def requested_trial(results: Path, text: str) -> tuple[str, int]:
    """Return a study's name and a trial's number.

    Raises:
        UsageError: it is written otherwise, or several runs begin so.
        StudyStorageError: there is no such study or run.
    """
    if (named := trial_named(text)) is not None:
        return resolve_name(results, named[0]), named[1]
    if is_run_id(text):
        return _run_meant(results, text)
    resolve_name(results, None)  # raises where there is no study at all
    raise UsageError(f"{HOW}, got `{text}`")


def trial_named(text: str) -> tuple[str, int] | None:
    """Return the study and the trial that a text names by its number, None for a text that does not."""
    found = _TRIAL.fullmatch(text)
    return None if found is None else (found["name"], int(found["trial"]))


def is_study(results: Path, text: str) -> bool:
    """Whether a study has this name."""
    return any(name == text for name, _ in Layout(results).studies())


def is_run_id(text: str) -> bool:
    """Whether a text can be a run id, or the beginning of one."""
    return _RUN_ID.fullmatch(text) is not None


def require_trial(study: str, count: int, trial: int) -> None:
    """Make sure that a study has a trial of this number.

    Raises:
        StudyStorageError: it has not.
    """
    if trial >= count:
        there = f"0 to {count - 1}" if count else "none yet"
        raise StudyStorageError(f"no trial {trial} in `{study}`; there are: {there}")


def _run_meant(results: Path, text: str) -> tuple[str, int]:
    from study.utils.suggestions import did_you_mean
    from tracking.run_ids import load_runs

    resolve_name(results, None)  # raises where there is no study at all
    known: dict[str, tuple[str, int]] = {}
    for name, layout in Layout(results).studies():
        runs = load_runs(layout.runs)
        known |= {run_id: (name, trial) for trial, run_id in (runs.trials if runs else {}).items()}
    matching = [text] if text in known else [one for one in known if one.startswith(text)]
    if len(matching) == 1:
        return known[matching[0]]
    shown = matching or list(known)
    listed = ", ".join(f"{one} ({'/'.join(map(str, known[one]))})" for one in shown[:SHOWN_RUNS])
    more = f" and {len(shown) - SHOWN_RUNS} more" if len(shown) > SHOWN_RUNS else ""
    if matching:
        raise UsageError(
            f"a run must be named so that only one is meant, but several begin with `{text}`: {listed}{more}"
        )
    raise StudyStorageError(
        f"no MLflow run `{text}` in {results}{did_you_mean(text, shown)}; there are: {listed or 'none'}{more}; "
        "STUDY/TRIAL such as ablation/3 names a trial too"
    )


@dataclass(frozen=True)
class Source:
    """A study to rank.

    ``total`` is how many trials it has, of which ``records`` may be only the first in the server's order.
    ``sample`` are some of all trials where ``records`` are chosen, so that their names and types are known.
    ``is_part`` says that more than ``records`` may match the condition they were chosen by.
    ``class_counts`` are its images of each class, negative first, by set; empty where unknown.
    """

    name: str
    objective_list: tuple[Objective, ...]
    records: Sequence[TrialRecord]
    total: int
    seeds: tuple[int, ...] = ()
    design: str = "search"
    data: str = ""
    fingerprint: str = ""
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    looks: tuple[FinalLook, ...] = ()
    sample: Sequence[TrialRecord] = ()
    is_part: bool = False

    @property
    def known(self) -> list[TrialRecord]:
        """The trials that say which names and types there are; some come twice."""
        return [*self.records, *self.sample]

    @property
    def replicates(self) -> int:
        """How many trials each of its points has at most."""
        return max(len(self.seeds), max((one.replicate for one in self.records), default=0) + 1)


def read_source(results: Path, name: str | None) -> Source:
    """Return a study of the results folder.

    Raises:
        StudyStorageError: there is no such study.
    """
    study = see_study(results, name)
    data = study.facts.data
    counts = {
        images: tuple(of_class.get(one, 0) for one in data.classes) for images, of_class in data.class_counts.items()
    }
    found = of_spec(study.facts.spec, study.name, study.records)
    return Source(
        found.name, found.objective_list, found.records, found.total, found.seeds, found.design,
        data.source, data.fingerprint, counts, study.facts.looks,
    )  # fmt: skip


def of_spec(spec: StudySpec, name: str, records: Sequence[TrialRecord]) -> Source:
    """Return a study of which no more is known than its spec and its trials."""
    return Source(name, spec.objective_list, records, len(records), spec.replicates.numbers, spec.design.kind)


def served(
    study: ServedStudy, records: Sequence[TrialRecord], sample: Sequence[TrialRecord] = (), *, is_part: bool = False
) -> Source:
    """Return a study of a server with those of its trials that were read."""
    total = max(study.summary.trials, len(records))
    data = study.parent.params.get("data.source", "")
    return Source(
        study.name, study.objective_list, records, total, study.seeds, study.design, data, study.fingerprint,
        study.class_counts, sample=sample, is_part=is_part,
    )  # fmt: skip


def class_counts_of(metric: str) -> str:
    """Return the image set that a metric is measured on."""
    sets = shifted_sets(metric)
    return f"shifted/{sets[0]}" if sets else "val"

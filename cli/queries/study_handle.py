"""One handle for a study to read, whether it lies in a results folder or on an MLflow server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.config.search_config import Objective
from study.errors import StudyStorageError, damaged
from study.paths import Layout, StudyLayout
from study.records import FinalLook, StudySummary, TrialRecord
from study.utils.named_places import is_in_named_place
from study.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    from study.storage.reader import StudyView
    from tracking.reader.study import ServedStudy

_UNGUIDED = ("random", "qmc")
"""Samplers that draw points whatever the earlier ones gave."""


class StudyHandle(ABC):
    """A study to read.

    ``records`` are its trials, without their epochs unless those were asked for; ``total`` counts the trials there
    are. Of a server's study ``records`` may be a part: ``is_part`` then says that more trials may match the condition
    they were chosen by, and ``sample`` has some of all trials, which show the names and types of metrics and
    hyperparameters. ``class_counts`` are the images of each class by set; empty where unknown, as are ``seeds``
    and ``classes``, their names.
    """

    records: Sequence[TrialRecord]
    sample: Sequence[TrialRecord] = ()
    is_part: bool = False
    name: str
    objective_list: tuple[Objective, ...]
    seeds: tuple[int, ...]
    design: str
    data_source: str
    fingerprint: str
    class_counts: Mapping[str, tuple[int, ...]]
    classes: tuple[str, ...] = ()
    looks: tuple[FinalLook, ...]
    state: str = ""
    look: int = 1
    """Which look at its results this is: each extension makes one more, and so does one while it runs."""
    is_adaptive: bool = False
    options: str = ""
    """Options of a command that reads the study, with a blank before each."""

    @property
    @abstractmethod
    def summary(self) -> StudySummary:
        """One line about it."""

    @property
    def total(self) -> int:
        """How many trials it has."""
        return len(self.records)

    @property
    def replicates(self) -> int:
        """How many trials each of its points has at most."""
        return max(len(self.seeds), max((record.replicate for record in self.records), default=0) + 1)


class StudyInFolder(StudyHandle):
    """A study of a results folder as it was when read; its trials have their MLflow run ids where those are known."""

    def __init__(self, view: StudyView, layout: StudyLayout, state: str) -> None:
        self.view = view
        self.layout = layout
        self.state = state
        self.records = view.records
        self.name = view.name
        self.objective_list = view.spec.objective_list
        self.seeds = view.spec.replicates.numbers
        self.design = view.spec.design.kind
        self.data_source = view.data.source
        self.fingerprint = view.data.fingerprint
        self.classes = view.data.classes
        self.class_counts = {
            images: tuple(counts.get(label, 0) for label in view.data.classes)
            for images, counts in view.data.class_counts.items()
        }
        self.looks = view.looks
        self.options = layout.results_option
        self.look = 1 + len(view.extensions) + (state == "running")
        self.is_adaptive = self.design == "search" and view.spec.search.sampler not in _UNGUIDED

    @property
    def summary(self) -> StudySummary:
        """One line about it."""
        from study.analysis.ranking import summarize

        return summarize(self.view.spec, self.state, self.records, self.view.created_at_s, self.view.planned)


class StudyOnServer(StudyHandle):
    """A study of an MLflow server with those of its trials that were read."""

    looks = ()

    def __init__(
        self,
        served: ServedStudy,
        records: Sequence[TrialRecord],
        sample: Sequence[TrialRecord] = (),
        *,
        is_part: bool = False,
        options: str = "",
    ) -> None:
        self.served = served
        self.records = records
        self.sample = sample
        self.is_part = is_part
        self.name = served.name
        self.objective_list = served.objective_list
        self.seeds = served.seeds
        self.design = served.design
        self.data_source = served.parent.params.get("data.source", "")
        self.fingerprint = served.fingerprint
        self.class_counts = served.class_counts
        self.options = options

    @property
    def summary(self) -> StudySummary:
        """One line about it."""
        return self.served.summary

    @property
    def total(self) -> int:
        """How many trials it has."""
        return max(self.summary.trials, len(self.records))


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
    names = [study for study, _ in Layout(results).studies()]
    if name is None and names:
        return names[0]
    if name is None:
        raise StudyStorageError(f"no study in {results}; `study run FILE` makes one, --results DIR looks elsewhere")
    if name not in names:
        listed = ", ".join(names[:10]) or "none"
        raise StudyStorageError(f"no study `{name}` in {results}{did_you_mean(name, names)}; there are: {listed}")
    return name


def open_study(results: Path, name: str | None, *, epochs: bool = False) -> StudyInFolder:
    """Read a study of a results folder; one that runs may be read at any time.

    Args:
        results: the folder of all studies.
        name: its name; None means the newest.
        epochs: whether the trials are to have their epochs, which takes longer.

    Raises:
        StudyStorageError: there is no such study, or its journal is damaged.
    """
    from study.storage.reader import read_study
    from tracking.run_ids import load_runs

    layout = Layout(results).study(resolve_name(results, name))
    runs = load_runs(layout.runs)
    view = read_study(layout, runs.trials if runs else {}, epochs=epochs)
    try:
        return StudyInFolder(view, layout, _state(layout, view))
    except (LookupError, TypeError, ValueError) as error:
        raise damaged(layout, error) from error


def checkpoints_by_run(results: Path) -> dict[str, str]:
    """Return the path or URI of the checkpoint of every MLflow run in a results folder that ended with one."""
    checkpoints: dict[str, str] = {}
    for name, _ in Layout(results).studies():
        with suppress(StudyStorageError):  # another study's damaged journal is no reason to stop
            records = open_study(results, name).records
            for record in records:
                place = record.checkpoint
                if record.run_id and place and is_in_named_place(results, place):
                    checkpoints[record.run_id] = place
    return checkpoints


def study_summaries(results: Path, tracking_uri: str | None = None) -> list[StudySummary | DamagedStudy]:
    """Return one line about every study of a folder or a server, the newest first; a damaged one hides no other."""
    if tracking_uri:
        from tracking.reader import queries

        return [*queries.studies(tracking_uri)]
    summaries: list[StudySummary | DamagedStudy] = []
    for name, _ in Layout(results).studies():
        try:
            summaries.append(open_study(results, name).summary)
        except StudyStorageError as error:
            summaries.append(DamagedStudy(name, str(error)))
    return summaries


def _state(layout: StudyLayout, view: StudyView) -> str:
    """Return how a study stands: running, finished, stopped between trials, or interrupted in the middle of one."""
    from study.storage.lock import is_driven

    if is_driven(layout):
        return "running"
    if view.is_finished:
        return "finished"
    ended = sum(count for state, count in view.counts.items() if state.is_finished)
    return "stopped" if ended == sum(view.counts.values()) < view.planned else "interrupted"

"""What is known of a study or of two runs, as the report takes it: plain records, already judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from study.analysis.verdict import Comparison, Judgement, Standing
from study.config.hyperparameters import Scalar
from study.config.search_config import Objective
from study.records import TrialRecord, TrialState
from study.report.elements import setting

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_MOST_OWN = 2


@dataclass(frozen=True)
class Entry:
    """A row of the ranking: a configuration with its trials, or a trial.

    Attributes:
        key: the number of the configuration or trial.
        name: what it is called.
        rank: None for what has no value yet.
        value: of the first objective; of a configuration the mean.
        values: of each metric, by name; of a configuration means.
        state: how it stands.
        seeds: how many of its seeds ran to the end, and how many are planned; empty for a trial.
        trials: its trials, one for a trial.
        best: the trial whose checkpoint stands for it.
        standing: its interval and ranks, where it was judged.
    """

    key: int
    name: str
    rank: int | None
    value: float | None
    values: Mapping[str, float]
    state: TrialState
    seeds: str
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    standing: Standing | None = None

    @property
    def params(self) -> Mapping[str, Scalar]:
        """The searched values."""
        return self.trials[0].params


@dataclass(frozen=True)
class Verdict:
    """The answer by stored predictions: ``keys`` are those of the entries that were judged, in their order."""

    comparison: Comparison
    judgement: Judgement
    keys: tuple[int, ...]

    @property
    def leader(self) -> int:
        """The key of the leader."""
        return self.keys[self.judgement.leader]

    @property
    def may_be_best(self) -> tuple[int, ...]:
        """The keys of those that may be the best, best first."""
        return tuple(self.keys[k] for k in self.judgement.may_be_best)

    @property
    def seeds(self) -> int:
        """How many seeds each has at least."""
        return int(self.comparison.runs.counts.min())

    @property
    def images(self) -> int:
        """How many images, or groups of them, they were compared on."""
        return int(self.comparison.runs.units.shape[1])


@dataclass(frozen=True)
class ImageSetVerdict:
    """What entries reached on a set of images, by key: a value, the ends of its interval and the ranks it may have.

    ``may_be_best`` of those that were judged may be the best there.
    """

    name: str
    metric: str
    standings: Mapping[int, Standing]
    may_be_best: int


@dataclass(frozen=True)
class Predictions:
    """Scores of a checkpoint on the validation images: ``scores`` [M, K], ``labels`` [M]."""

    key: int
    name: str
    scores: Floats
    labels: Ints


@dataclass(frozen=True)
class WrongImage:
    """An image that the leader's checkpoint is most wrong about.

    ``misses`` of ``runs`` that may be the best call it wrong too.
    """

    name: str
    pixels: NDArray[np.uint8]
    true: str
    called: str
    score: float
    misses: int
    runs: int


@dataclass(frozen=True)
class Effect:
    """What a level of a factor does to the metric, in an interval; the ends are None where they are not known."""

    factor: str
    level: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class EffectTable:
    """The effects of all factors on one metric."""

    metric: str
    title: str
    rows: tuple[Effect, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyContent:
    """Everything that a report of a study shows.

    Attributes:
        name, state, begun_at_s, planned, at_s: which study, how it stands, when it began, its trials, and the moment
            that all this was read.
        objectives: the first one ranks where there is one.
        searched: names of the searched parameters.
        entries: best first.
        trials: every trial with its epochs.
        answer: the verdict in words.
        may_be_on_front: with several objectives, the keys of the entries that may be on the Pareto front.
        verdict: the numbers behind it; None without stored predictions, and ``no_verdict`` then says why.
        image_sets: what the entries reached on validation and on each shifted set.
        tested: what evaluations on the test images found, a sentence each.
        test_counts: test images of each class.
        predictions: of those that may be the best, the leader first.
        classes: names of the classes.
        wrong, no_pictures: the most wrong images, or why there are none.
        effects, no_effects: of the factors, or why there are none.
        importance: of searched parameters, with what it cannot say.
        data, provenance: facts by heading.
        commands: that make the study again, and what may come next.
        failures: trials that failed, with the error of each.
        notes: what a reader should know.
    """

    name: str
    state: str
    begun_at_s: float
    planned: int
    at_s: float
    objectives: tuple[Objective, ...]
    searched: tuple[str, ...]
    entries: tuple[Entry, ...]
    trials: tuple[TrialRecord, ...]
    answer: str
    verdict: Verdict | None = None
    no_verdict: str = ""
    image_sets: tuple[ImageSetVerdict, ...] = ()
    tested: tuple[str, ...] = ()
    test_counts: tuple[int, ...] = ()
    predictions: tuple[Predictions, ...] = ()
    classes: tuple[str, ...] = ()
    wrong: tuple[WrongImage, ...] = ()
    no_pictures: str = ""
    effects: tuple[EffectTable, ...] = ()
    no_effects: str = ""
    importance: Mapping[str, float] = field(default_factory=dict)
    importance_notes: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    failures: Sequence[TrialRecord] = ()
    notes: tuple[str, ...] = ()
    may_be_on_front: frozenset[int] = frozenset()

    @property
    def objective(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @cached_property
    def labels(self) -> Mapping[int, str]:
        """What tells each entry apart, by key: its values that most others do not have, or all of them."""
        counts = {name: Counter(str(entry.params.get(name)) for entry in self.entries) for name in self.searched}
        usual = {
            name: value for name, counter in counts.items() for value, count in counter.most_common(1)
            if count > max(1, len(self.entries) / 2)
        }  # fmt: skip
        own = {
            entry.key: [f"{name} {setting(value)}" for name, value in entry.params.items()
                        if str(value) != usual.get(name, "")] for entry in self.entries
        }  # fmt: skip
        if any(len(told) > _MOST_OWN for told in own.values()):
            own = {entry.key: list(map(setting, entry.params.values())) for entry in self.entries}
        return {key: f"{key}: {', '.join(told) or 'as most others'}" for key, told in own.items()}

    @property
    def of_configurations(self) -> bool:
        """Whether the entries are configurations of several seeds."""
        return any(entry.seeds for entry in self.entries)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come."""
        return self.state == "finished"

    def entry(self, key: int) -> Entry:
        """Return the entry with a key."""
        return next(entry for entry in self.entries if entry.key == key)


@dataclass(frozen=True)
class RunPair:
    """Everything that a report of two runs shows; ``difference`` is the first less the second, in words too.

    Attributes:
        objective: what they are compared by.
        runs: both, with their epochs.
        names: what they are called.
        answer: in one sentence.
        more: what else is known of them, a sentence each.
        verdict: the numbers behind it; None where the predictions cannot be compared.
        differing: part, name and both values of everything that differs.
        predictions: of both, where they were stored.
        classes: names of the classes.
    """

    objective: Objective
    runs: tuple[TrialRecord, TrialRecord]
    names: tuple[str, str]
    answer: str
    verdict: Verdict | None
    differing: tuple[tuple[str, str, str, str], ...]
    predictions: tuple[Predictions, ...]
    classes: tuple[str, ...]
    commands: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

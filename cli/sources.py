"""Know of a study what a ranking takes, whether it lies in the results folder or on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cli.reading import see_study
from study.records import FinalLook, TrialRecord, shifted_sets
from study.spec import Objective, StudySpec

if TYPE_CHECKING:
    from tracking.reading.served import ServedStudy


@dataclass(frozen=True)
class Source:
    """A study to rank.

    ``total`` is how many trials it has, of which ``records`` may be only the first in the server's order.
    ``sample`` are some of all trials where ``records`` are chosen, so that their names and types are known.
    ``is_part`` says that more than ``records`` may match the condition they were chosen by.
    ``class_counts`` are its images of each class, negative first, by set; empty where unknown.
    """

    name: str
    aims: tuple[Objective, ...]
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


def seen(results: Path, name: str | None) -> Source:
    """Return a study of the results folder.

    Raises:
        LedgerError: there is no such study.
    """
    study = see_study(results, name)
    data = study.facts.data
    counts = {
        images: tuple(of_class.get(one, 0) for one in data.classes) for images, of_class in data.class_counts.items()
    }
    found = of_spec(study.facts.spec, study.name, study.records)
    return Source(
        found.name, found.aims, found.records, found.total, found.seeds, found.design,
        data.source, data.fingerprint, counts, study.facts.looks,
    )  # fmt: skip


def of_spec(spec: StudySpec, name: str, records: Sequence[TrialRecord]) -> Source:
    """Return a study of which no more is known than its spec and its trials."""
    return Source(name, spec.aims, records, len(records), spec.replicates.numbers, spec.design.kind)


def served(
    study: ServedStudy, records: Sequence[TrialRecord], sample: Sequence[TrialRecord] = (), *, is_part: bool = False
) -> Source:
    """Return a study of a server with those of its trials that were read."""
    total = max(study.summary.trials, len(records))
    data = study.parent.params.get("data.source", "")
    return Source(
        study.name, study.aims, records, total, study.seeds, study.design, data, study.fingerprint, study.class_counts,
        sample=sample, is_part=is_part,
    )  # fmt: skip


def images_of(metric: str) -> str:
    """Return the image set that a metric is measured on."""
    sets = shifted_sets(metric)
    return f"shifted/{sets[0]}" if sets else "val"

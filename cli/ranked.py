"""Rank a study's trials and configurations for the commands that need a winner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cli.reading import open_study
from study.configurations import Configuration, count_replicates, rank_configurations
from study.errors import LedgerError, UsageError
from study.front import rank_by_front
from study.ranking import RankedRow, mode_of, rank
from study.records import TrialRecord, metric_named, shifted_sets
from study.spec import Mode, Objective, StudySpec
from study.spec_file.words import did_you_mean


@dataclass(frozen=True)
class Ranked:
    """The ranking of one study.

    ``configurations`` are its points, ranked by the mean over their ``replicates``, where there is more than one;
    ``seeds`` are theirs, empty where unknown. ``aims`` are its objectives where several rank together, ``metric`` and
    ``mode`` then those of the first. ``baseline`` is the point that those of a one-factor design differ from.
    ``class_counts`` are the images of each class in the set the metric is about, empty where unknown.
    """

    study: str
    metric: str
    mode: Mode
    rows: list[RankedRow]
    class_counts: tuple[int, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    replicates: int = 1
    seeds: tuple[int, ...] = ()
    aims: tuple[Objective, ...] = ()
    baseline: int | None = None

    @property
    def base(self) -> Configuration | None:
        """The configuration that others are to be compared with, None where there is none."""
        return next((one for one in self.configurations if one.point == self.baseline), None)

    @property
    def metrics(self) -> list[str]:
        """What it ranks by."""
        return [one.metric for one in self.aims] or [self.metric]

    @property
    def seed_word(self) -> str:
        """What the number of a replicate is: its seed, or without the seeds its place among them."""
        return "seed" if self.seeds else "replicate"

    def seed_of(self, record: TrialRecord) -> int:
        """Return that number for a trial."""
        return self.seeds[record.replicate] if self.seeds else record.replicate


def ranked_rows(results: Path, tracking_uri: str | None, name: str | None, metric: str | None) -> Ranked:
    """Rank the trials of a study, from the results folder or from the server that is named.

    A metric that is named ranks alone; without one all objectives of the study do.

    Raises:
        UsageError: no trial reports the metric.
        LedgerError, TrackingError: there is no such study.
    """
    if tracking_uri:
        return _ranked_on_server(tracking_uri, name, metric)
    study = open_study(results, name)
    found, data = rank_study(study.ledger.spec, study.name, study.records, metric), study.ledger.data
    sets = shifted_sets(found.metric)
    images = f"shifted/{sets[0]}" if sets else "val"
    return replace(found, class_counts=tuple(data.class_counts.get(images, {}).get(one, 0) for one in data.classes))


def rank_study(spec: StudySpec, name: str, records: list[TrialRecord], metric: str | None) -> Ranked:
    """Rank the trials of a study by one metric, or by all its objectives.

    Raises:
        UsageError: no trial reports the metric.
    """
    aims = spec.aims if metric is None else (Objective(metric=metric, mode=mode_of(metric, spec)),)
    seeds = spec.replicates.numbers
    found = _rank(name, records, aims, len(seeds), by_pass=spec.design.kind != "search")
    return replace(found, seeds=seeds, baseline=0 if spec.design.kind == "one_factor" and not found.aims else None)


def require_metrics(columns: str | None, found: Ranked) -> list[str]:
    """Return the metrics named in ``columns``, separated by commas, without those that are shown anyway.

    Raises:
        UsageError: no trial of the ranking has one of them.
    """
    named = [one.strip() for one in (columns or "").split(",") if one.strip()]
    known = sorted({metric for row in found.rows for metric in row.record.metrics}) if named else []
    for name in named:
        if name not in known:
            plain = [one for one in known if "." not in one]
            families = sorted({one.rpartition(".")[0] + ".*" for one in known if "." in one})
            meant = did_you_mean(name, known) or "."
            listed = ", ".join([*plain, *families]) or "none yet"
            raise UsageError(f"--columns: no trial reports `{name}`{meant} There are: {listed}")
    return [one for one in dict.fromkeys(named) if one not in found.metrics]


def require_best(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None
) -> tuple[Ranked, RankedRow]:
    """Return the ranking and the trial that wins it; its weights may not have been kept.

    Raises:
        LedgerError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    found = ranked_rows(results, tracking_uri, name, metric)
    return found, winner_of(found)


def winner_of(found: Ranked) -> RankedRow:
    """Return the first trial, of the first configuration the one with the best value.

    Raises:
        LedgerError: no trial ended with a checkpoint yet.
        UsageError: several objectives have no single winner.
    """
    require_candidate(found)
    if found.aims:
        raise UsageError(
            f"`{found.study}` has several objectives and so no single best trial; name one to choose by, "
            f"such as --metric {found.metric}"
        )
    if not found.configurations:
        return found.rows[0]
    best = found.configurations[0]
    assert best.best is not None
    return RankedRow(best.rank, best.best.metrics[found.metric], best.best)


def require_candidate(found: Ranked) -> None:
    """Make sure that something is ranked.

    Raises:
        LedgerError: no trial ended with a checkpoint yet.
    """
    if not found.rows or found.rows[0].rank is None:
        raise LedgerError(
            f"a best trial needs one that ended with a checkpoint, but none of the {len(found.rows)} trials of "
            f"`{found.study}` did; `study show {found.study}` says how they stand"
        )


def _rank(
    study: str, records: list[TrialRecord], aims: tuple[Objective, ...], replicates: int, *, by_pass: bool = False
) -> Ranked:
    first = aims[0]
    many = len(aims) > 1
    rows = rank_by_front(records, aims) if many else rank(records, first.metric, first.mode)
    configurations: tuple[Configuration, ...] = ()
    if replicates > 1:
        configurations = tuple(rank_configurations(records, aims, replicates, by_pass=by_pass))
    together = aims if many else ()
    return Ranked(study, first.metric, first.mode, rows, (), configurations, replicates, aims=together)


def _ranked_on_server(tracking_uri: str, name: str | None, metric: str | None) -> Ranked:
    from tracking import query

    known = query.studies(tracking_uri)
    if name is None and not known:
        raise LedgerError("no study on that server; `study run FILE` makes one")
    summary = next((one for one in known if one.name == (name or known[0].name)), None)
    if summary is None:
        raise LedgerError(f"no study `{name}` there; there are: {', '.join(one.name for one in known[:10]) or 'none'}")
    metric = metric or summary.metric
    natural = metric_named(metric)
    mode: Mode = summary.mode if metric == summary.metric else (natural and natural.mode) or "max"
    records = query.trials(tracking_uri, summary.name, metric, mode)
    return _rank(summary.name, records, (Objective(metric=metric, mode=mode),), count_replicates(records))

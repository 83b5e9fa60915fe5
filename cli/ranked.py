"""Rank a study's trials for the commands that need a winner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.reading import open_study
from study.errors import LedgerError, UsageError
from study.ranking import RankedRow, mode_of, rank
from study.records import metric_named, shifted_sets
from study.spec import Mode
from study.spec_file.words import did_you_mean


@dataclass(frozen=True)
class Ranked:
    """The ranking of one study; ``class_counts`` are its validation images by class, empty where unknown."""

    study: str
    metric: str
    mode: Mode
    rows: list[RankedRow]
    class_counts: tuple[int, ...] = ()


def ranked_rows(results: Path, tracking_uri: str | None, name: str | None, metric: str | None) -> Ranked:
    """Rank the trials of a study by a metric, from the results folder or from the server that is named.

    Raises:
        UsageError: no trial reports the metric.
        LedgerError, TrackingError: there is no such study.
    """
    if tracking_uri:
        return _ranked_on_server(tracking_uri, name, metric)
    study = open_study(results, name)
    spec = study.ledger.spec
    metric = metric or spec.objective.metric
    mode = mode_of(metric, spec)
    data = study.ledger.data
    sets = shifted_sets(metric)
    images = f"shifted/{sets[0]}" if sets else "val"
    counts = tuple(data.class_counts.get(images, {}).get(one, 0) for one in data.classes)
    return Ranked(study.name, metric, mode, rank(study.records, metric, mode), counts)


def require_metrics(columns: str | None, found: Ranked) -> list[str]:
    """Return the metrics named in ``columns``, separated by commas.

    Raises:
        UsageError: no trial of the ranking has one of them.
    """
    named = [one.strip() for one in (columns or "").split(",") if one.strip()]
    known = sorted({metric for row in found.rows for metric in row.record.metrics})
    for name in named:
        if name not in known:
            plain = [one for one in known if "." not in one]
            families = sorted({one.rpartition(".")[0] + ".*" for one in known if "." in one})
            meant = did_you_mean(name, known) or "."
            listed = ", ".join([*plain, *families]) or "none yet"
            raise UsageError(f"--columns: no trial reports `{name}`{meant} There are: {listed}")
    return named


def require_best(
    results: Path, tracking_uri: str | None, name: str | None, metric: str | None
) -> tuple[Ranked, RankedRow]:
    """Return the ranking and its winner.

    Raises:
        LedgerError: no trial ended with a checkpoint yet.
    """
    found = ranked_rows(results, tracking_uri, name, metric)
    if not found.rows or found.rows[0].rank is None:
        raise LedgerError(
            f"a best trial needs one that ended with a checkpoint, but none of the {len(found.rows)} trials of "
            f"`{found.study}` did; `study show {found.study}` says how they stand"
        )
    return found, found.rows[0]


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
    return Ranked(summary.name, metric, mode, rank(records, metric, mode))

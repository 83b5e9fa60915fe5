"""Read from a server as many trials as a ranking takes, in the server's own order where that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from cli.questions import of_trial, require
from cli.sources import Source, served
from study.errors import UsageError
from study.hyperparameters import TrialConfig
from study.ranking import is_candidate, mode_among
from study.records import TrialRecord, TrialState, metric_named
from study.where import FIELDS, Comparison, Where
from study.where.syntax import All, Expression, Literal, Name

if TYPE_CHECKING:
    from tracking.reading.served import ServedStudy, Wanted

_SAMPLE = 50
_SLOW = 2_000
_TAGS = {"trial": "study.trial", "point": "study.point", "replicate": "study.replicate", "state": "study.state"}
_SIGNS = ("<", "<=", ">", ">=")
_WORDS = tuple(name for name, field in TrialConfig.model_fields.items() if not isinstance(field.default, tuple))
"""Hyperparameters that MLflow has as a condition writes them; several numbers it has in another way."""


def read_served(
    tracking_uri: str,
    name: str | None,
    metric: str | None,
    top: int | None,
    where: Where | None = None,
    *,
    trials: bool = False,
) -> Source:
    """Read a study from a server, no more of it than the first ``top`` places take.

    All trials are read where the order of places is not the server's: means over replicates, several objectives, and
    when no number is asked for.

    Args:
        tracking_uri: the server or database.
        name: the study; None means the newest.
        metric: what to rank by; None means its objectives.
        top: how many places are asked for; None means all.
        where: what must hold of a trial.
        trials: whether single trials are ranked although configurations have several.

    Raises:
        TrackingError: the server is away, or there is no such study.
        UsageError: no trial reports the metric, or the expression means nothing.
    """
    from tracking.reading import query

    study = query.open_study(tracking_uri, name)
    aims = study.aims if metric is None else study.aims[:1]
    single = trials or not study.has_replicates
    by_server = top is not None and len(aims) == 1 and single
    wanted = wanted_by(where) if single else ()
    sample = list(study.trials(limit=_SAMPLE)) if where is not None and (by_server or wanted) else []
    if sample and where is not None and not _is_understood(study, sample, where):
        by_server, wanted = False, ()  # all trials together say what is wrong with it
    if not by_server:
        if study.summary.trials > _SLOW:
            typer.echo(f"reading all {study.summary.trials} trials of {study.name} from the server", err=True)
        return served(study, list(study.trials(wanted=wanted)), sample)
    assert top is not None
    first, is_part = _first(study, metric or aims[0].metric, max(top, 2), where)
    return served(study, first, sample, is_part=is_part)


def _is_understood(study: ServedStudy, sample: Sequence[TrialRecord], where: Where) -> bool:
    """Whether an expression means something for a few trials; of a large study it must."""
    try:
        require(where, sample, {study.name: study.seeds}, trials=True)
    except UsageError:
        if study.summary.trials > _SLOW:
            raise
        return False
    return True


def _first(study: ServedStudy, metric: str, count: int, where: Where | None) -> tuple[list[TrialRecord], bool]:
    """Return the trials that have the first places, and others; and whether more may match."""
    seeds = {study.name: study.seeds} if study.seeds else {}

    def fits(record: TrialRecord) -> bool:
        return is_candidate(record, metric) and (where is None or where.holds(of_trial(record, seeds)))

    found = study.best(metric, mode_among(metric, study.aims), count, fits, wanted_by(where))
    return found, sum(map(fits, found)) >= count


def wanted_by(where: Where | None) -> Sequence[Wanted]:
    """Return what an expression demands in any case and MLflow's filters understand; it may demand more."""
    if where is None:
        return ()
    expression = where.expression
    parts = expression.parts if isinstance(expression, All) else (expression,)
    return [found for one in parts if (found := _wanted(one)) is not None]


def _wanted(part: Expression) -> Wanted | None:
    from tracking.reading.served import Wanted

    if not isinstance(part, Comparison) or not isinstance(part.left, Name) or not isinstance(part.right, Literal):
        return None
    name, sign, value = part.left.name, part.sign, part.right.literal
    bare = name.removeprefix("params.").removeprefix("metrics.")
    if name in _TAGS and sign == "=" and value != TrialState.WAITING and not isinstance(value, float):
        return Wanted("tag", _TAGS[name], sign, str(value)) if _is_plain(str(value)) else None
    if name in FIELDS:
        return None
    if isinstance(value, str):
        ours = bare in _WORDS and sign == "=" and _is_plain(value)
        return Wanted("param", bare, sign, value) if ours else None
    is_metric = name.startswith("metrics.") or (metric_named(name) is not None and name not in TrialConfig.model_fields)
    is_number = not isinstance(value, bool)
    return Wanted("metric", bare, sign, value) if is_metric and sign in _SIGNS and is_number else None


def _is_plain(text: str) -> bool:
    """Whether MLflow's filters can quote a text."""
    return 0 < len(text) < 250 and text.isascii() and text.isprintable() and not set(text) & set("'\"`\\%")

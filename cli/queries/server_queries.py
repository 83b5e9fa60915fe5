"""Read a study to rank; from a tracking server only the trials that the ranking needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.queries.field_getters import mode_of, require_filter, trial_fields
from cli.queries.study_handle import StudyHandle, StudyOnServer, open_study
from study.analysis.ranking import is_candidate
from study.analysis.trial_filter import FIELDS, Comparison, TrialFilter
from study.analysis.trial_filter.expression import And, Expression, LiteralValue, Name
from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.errors import UsageError
from study.metric_catalog import metric_named
from study.records import TrialRecord, TrialState

if TYPE_CHECKING:
    from tracking.reader.study import ServedStudy, ServerFilter

_SAMPLE = 50
"""Trials read first, to see whether an expression means something."""
_SLOW = 2_000
"""Trials from which on reading all of them takes so long that the user is told."""
_TAGS = {"trial": "study.trial", "point": "study.point", "replicate": "study.replicate", "state": "study.state"}
_SIGNS = ("<", "<=", ">", ">=")
_TEXT_PARAMS = tuple(name for name, field in TrialConfig.model_fields.items() if not isinstance(field.default, tuple))
"""Hyperparameters whose text in MLflow is that of an expression; several numbers are written differently."""


def read_ranked(
    results: Path,
    tracking_uri: str | None,
    name: str | None,
    metric: str | None,
    top: int | None,
    where: TrialFilter | None = None,
    *,
    trials: bool = False,
) -> StudyHandle:
    """Read a study to rank, from the results folder or from a server; there no more than the first ``top`` ranks take.

    All trials are read where the server cannot rank them: by means over replicates, by several objectives, and when
    no number is asked for. ``trials``: single trials are ranked although configurations have several.

    Raises:
        StudyStorageError, TrackingError: there is no such study, or the server is away.
        UsageError: no trial reports the metric, or the expression means nothing.
    """
    if not tracking_uri:
        return open_study(results, name)
    from tracking.reader import queries
    from tracking.tracking_uri import quoted_uri

    study = queries.open_study(tracking_uri, name)
    options = f" --tracking-uri {quoted_uri(tracking_uri)}"
    objectives = study.objective_list if metric is None else study.objective_list[:1]
    single = trials or not study.has_replicates
    by_server = top is not None and len(objectives) == 1 and single
    wanted = server_filter_of(where) if single else ()
    sample = list(study.trials(limit=_SAMPLE)) if where is not None and (by_server or wanted) else []
    if sample and where is not None and not _is_understood(study, sample, where):
        by_server, wanted = False, ()  # only all trials together show what is wrong with it
    if not by_server:
        if study.summary.trials > _SLOW:
            typer.echo(f"reading all {study.summary.trials} trials of {study.name} from the server", err=True)
        return StudyOnServer(study, list(study.trials(wanted=wanted)), sample, options=options)
    assert top is not None
    first, is_part = _first(study, metric or objectives[0].metric, max(top, 2), where)
    return StudyOnServer(study, first, sample, is_part=is_part, options=options)


def _is_understood(study: ServedStudy, sample: Sequence[TrialRecord], where: TrialFilter) -> bool:
    """Whether an expression means something for a few trials; of a large study it must."""
    try:
        require_filter(where, sample, {study.name: study.seeds}, trials=True)
    except UsageError:
        if study.summary.trials > _SLOW:
            raise
        return False
    return True


def _first(study: ServedStudy, metric: str, count: int, where: TrialFilter | None) -> tuple[list[TrialRecord], bool]:
    """Return trials with the first ranks among them, and whether more may match."""
    seeds = {study.name: study.seeds} if study.seeds else {}
    objective = Objective(metric=metric, mode=mode_of(metric, study.objective_list))

    def fits(record: TrialRecord) -> bool:
        return is_candidate(record, [objective]) and (where is None or where.holds(trial_fields(record, seeds)))

    records = study.best(metric, objective.mode, count, fits, server_filter_of(where))
    return records, sum(map(fits, records)) >= count


def server_filter_of(where: TrialFilter | None) -> Sequence[ServerFilter]:
    """Return the conditions of an expression that MLflow's filters understand; it may have others."""
    if where is None:
        return ()
    expression = where.expression
    parts = expression.parts if isinstance(expression, And) else (expression,)
    return [condition for part in parts if (condition := _server_filter(part)) is not None]


def _server_filter(part: Expression) -> ServerFilter | None:
    from tracking.reader.study import ServerFilter

    if not isinstance(part, Comparison) or not isinstance(part.left, Name) or not isinstance(part.right, LiteralValue):
        return None
    name, sign, value = part.left.name, part.sign, part.right.literal
    bare = name.removeprefix("params.").removeprefix("metrics.")
    if name in _TAGS and sign == "=" and value != TrialState.WAITING and not isinstance(value, float):
        return ServerFilter("tag", _TAGS[name], sign, str(value)) if _is_plain(str(value)) else None
    if name in FIELDS:
        return None
    if isinstance(value, str):
        ours = bare in _TEXT_PARAMS and sign == "=" and _is_plain(value)
        return ServerFilter("param", bare, sign, value) if ours else None
    is_metric = name.startswith("metrics.") or (metric_named(name) is not None and name not in TrialConfig.model_fields)
    is_number = not isinstance(value, bool)
    return ServerFilter("metric", bare, sign, value) if is_metric and sign in _SIGNS and is_number else None


def _is_plain(text: str) -> bool:
    """Whether MLflow's filters can quote a text."""
    return 0 < len(text) < 250 and text.isascii() and text.isprintable() and not set(text) & set("'\"`\\%")

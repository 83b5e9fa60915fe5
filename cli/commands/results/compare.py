"""The command that ranks: compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.options import RESULTS, Json, Matters, Metric, ReadUri, Results
from cli.output import print_json
from cli.views.tables import Format, TableModel, as_text, print_table

if TYPE_CHECKING:
    from cli.queries.field_getters import FieldGetter, SortKey
    from cli.queries.pair import Pair
    from cli.queries.ranking import Ranking


Top = Annotated[int | None, typer.Option("--top", min=1, help="Show only the first N.", metavar="N")]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Studies to rank together, default the newest; or two trials STUDY/TRIAL to compare.", metavar="[NAME]..."
    ),
]
WhereText = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="EXPR",
        help="Rank only those that match, as in \"optimizer = 'adam' and depth >= 34\"; two compare one with the other.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B", help="More to show: metrics, hyperparameters, or facts such as seed."),
]
Sort = Annotated[
    list[str] | None,
    typer.Option("--sort", metavar="KEY[:asc|desc]", help="Another order than that of the ranks; may be given again."),
]
Row = TypeVar("Row")
Shape = Annotated[Format, typer.Option("--format", help="What to print.")]


def compare(
    names: Names = None,
    metric: Metric = None,
    where: WhereText = None,
    top: Top = None,
    columns: Columns = None,
    sort: Sort = None,
    trials: Annotated[
        bool, typer.Option("--trials", help="Rank single trials, not configurations by their mean over seeds.")
    ] = False,
    matters: Matters = None,
    shape: Shape = Format.TABLE,
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
    json: Json = False,
) -> None:
    """Rank the configurations of studies: by one metric, or by all their objectives; or compare two.

    Two trials, or two --where, are compared in one sentence: the difference, its interval, and what blurs it.
    """
    from study.errors import UsageError

    pair = _pair(names, metric, where, results, tracking_uri, trials=trials, matters=matters)
    if pair is not None:
        if json or shape is Format.JSON:
            print_json(pair.as_json())
        else:
            _print_pair(pair)
        return
    if matters is not None:
        raise UsageError("--matters goes with two trials or two --where; `study effects --matters D` has a whole design")
    from cli.queries.field_getters import OF_CONFIGURATIONS, configuration_fields, require_names, sort_keys
    from cli.queries.ranking import rank_studies
    from cli.queries.server_queries import read_ranked
    from cli.queries.verdict import with_verdict
    from cli.views.leaderboard import (
        configuration_json,
        configuration_table,
        ranked_trial_fields,
        trial_json,
        trial_table,
    )
    from study.analysis.trial_filter import TrialFilter

    if json and shape not in (Format.TABLE, Format.JSON):
        raise UsageError(f"--json is --format json, so it cannot go with --format {shape}")
    kind = Format.JSON if json else shape
    condition, keys = TrialFilter(where[0]) if where else None, sort_keys(sort)
    limit = None if keys else top  # another order than the ranks' takes all of them
    studies = [
        read_ranked(results, tracking_uri, name, metric, limit, condition, trials=trials)
        for name in (dict.fromkeys(names) if names else [None])
    ]
    ranking = rank_studies(studies, metric, condition, trials=trials)
    competes = not (trials and ranking.configurations)  # single trials of one configuration do not
    if competes and not ranking.objective_list:
        ranking = with_verdict(ranking, None if tracking_uri else results)
    records = [record for study in studies for record in (*study.records, *study.sample)]
    single = trials or not ranking.configurations
    extra = OF_CONFIGURATIONS[:1] if single else OF_CONFIGURATIONS
    asked_for = [key.strip() for key in (columns or "").split(",") if key.strip()]
    more = require_names("--columns", asked_for, records, extra=extra)
    require_names("--sort", [key.name for key in keys], records, extra=extra)
    more = [key for key in more if key not in ranking.metrics]
    if single:
        trial_rows = [(ranked_trial_fields(ranking, row), row) for row in ranking.rows]
        _print_ranking(ranking, trial_rows, trial_table, trial_json, more, keys, top, kind)
    else:
        rows = [(configuration_fields(configuration), configuration) for configuration in ranking.configurations]
        _print_ranking(ranking, rows, configuration_table, configuration_json, more, keys, top, kind)


def _pair(
    names: list[str] | None, metric: str | None, where: list[str] | None, results: Path, tracking_uri: str | None,
    *, trials: bool, matters: float | None,
) -> Pair | None:  # fmt: skip
    """Return the comparison of two, None where a ranking is asked for."""
    from cli.queries.pair import compare_sides, side_of_trial, sides_of_groups
    from cli.queries.study_handle import open_study
    from cli.queries.trial_names import find_trial, is_study, trial_named
    from study.errors import UsageError

    given = list(dict.fromkeys(names or ()))
    runs = [] if tracking_uri else [name for name in given if trial_named(name) and not is_study(results, name)]
    if where is not None and len(where) > 1:
        if len(where) > 2 or len(given) > 1 or runs or tracking_uri:
            raise UsageError("--where twice compares two groups of one study of a results folder, and no more")
        sides = sides_of_groups(open_study(results, given[0] if given else None), metric, where, trials=trials)
        return compare_sides(sides[0], sides[1], results, matters)
    if not runs:
        return None
    if len(names or ()) == 2 and len(given) == 1:
        raise UsageError(f"two that are compared must differ, but both are {given[0]}")
    if len(given) != 2 or len(runs) != 2 or where:
        raise UsageError(f"two trials are compared with each other and with nothing else, got {', '.join(given)}")
    first, second = (side_of_trial(*find_trial(results, name), metric, trials=trials) for name in runs)
    return compare_sides(first, second, results, matters)


def _print_pair(pair: Pair) -> None:
    from cli.output import number
    from cli.views.tables import make_table

    found, percents = pair.contrast, [f"{100 * share:.0f} %" if share == share else "-" for share in pair.shares]
    typer.echo(pair.text)
    ends = "unknown" if math.isinf(found.high) else f"{number(found.low)} to {number(found.high)}"
    row = [number(pair.values[0]), number(pair.values[1]), f"{found.value:+.4f}", ends, f"{found.p:.2g}", *percents]
    print_table(make_table([*pair.names, "difference", "95 %", "p", "seeds", "images"], [row]))
    for note in pair.notes:
        typer.echo(note, err=note.startswith("warning"))


def _print_ranking(
    ranking: Ranking,
    rows: list[tuple[FieldGetter, Row]],
    to_table: Callable[[Ranking, Sequence[Row], Sequence[str]], TableModel],
    to_json: Callable[[Ranking, Row], dict[str, Any]],
    more: Sequence[str],
    keys: Sequence[SortKey],
    top: int | None,
    kind: Format,
) -> None:
    from cli.queries.field_getters import sort_in_place
    from cli.views.leaderboard import columns_json

    sort_in_place(rows, keys)
    del rows[len(rows) if top is None else top :]
    if kind is Format.JSON:
        print_json([{**to_json(ranking, row), **columns_json(fields, more)} for fields, row in rows])
        notes = ranking.notes
    else:
        model = to_table(ranking, [row for _, row in rows], more)
        print_table(model) if kind is Format.TABLE else typer.echo(as_text(model, kind), nl=False)
        notes = tuple(model.notes)
    for note in notes:
        typer.echo(note, err=kind is not Format.TABLE)  # they would spoil a file

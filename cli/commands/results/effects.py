"""The command that shows what each factor does: effects."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import RESULTS, Json, Matters, Metric, Name, Results
from cli.output import print_json
from cli.views.tables import Format, TableModel, as_text, print_table


def effects(
    name: Name = None,
    metric: Metric = None,
    matters: Matters = None,
    interactions: Annotated[
        bool, typer.Option("--interactions/--no-interactions", help="Show interactions of two factors too.")
    ] = True,
    shape: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TABLE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Show what each factor of a design does, with intervals that hold together; of a search its importance."""
    from cli.queries.effects import read_effects, read_importance
    from cli.queries.study_handle import open_study
    from cli.views.effects import effects_json, effects_table, effects_words, importance_json, importance_table
    from study.errors import UsageError

    if json and shape not in (Format.TABLE, Format.JSON):
        raise UsageError(f"--json is --format json, so it cannot go with --format {shape}")
    kind = Format.JSON if json else shape
    study = open_study(results, name)
    if study.design == "search":
        if matters is not None:
            raise UsageError(
                f"--matters is about effects, but `{study.name}` is a search, of which only importance is known; "
                "leave it out"
            )
        importance = read_importance(study, metric)
        if kind is Format.JSON:
            print_json(importance_json(importance))
        else:
            _print(importance_table(importance), kind)
        return
    estimated = read_effects(study, results, metric, interactions=interactions)
    if kind is Format.JSON:
        print_json(effects_json(estimated, matters))
        return
    table = effects_table(estimated, matters)
    if kind is Format.TABLE:
        typer.echo(f"which effects? {effects_words(estimated)}")
    _print(table, kind)


def _print(table: TableModel, kind: Format) -> None:
    print_table(table) if kind is Format.TABLE else typer.echo(as_text(table, kind), nl=False)
    for note in table.notes:
        typer.echo(f"note: {note}", err=kind is not Format.TABLE)  # they would spoil a file

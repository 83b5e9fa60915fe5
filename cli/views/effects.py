"""Tables of effects and of importance, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.output import number
from cli.queries.effects import EffectTable, StudyEffects, StudyImportance
from cli.views.tables import Column, TableModel
from study.config.hyperparameters import Scalar
from study.utils.text import first_of, show_bare

if TYPE_CHECKING:
    from study.analysis.effects import Effect

_Z = 1.96


def effects_table(effects: StudyEffects, matters: float | None = None) -> TableModel:
    """Return a row per effect: on validation with all that blurs it, then on every shifted set."""
    first, rows = effects.tables[0], effects.tables[0].effects
    columns = [
        Column("factor", [_factor(row) for row in rows]),
        Column("level", [_levels(row.term.levels) for row in rows]),
        Column("instead of", [_levels(row.term.references) for row in rows], exact="reference"),
        *_columns(first, None),
        Column("certain", [_certain(row, first, matters) for row in rows], exact=None),
        Column("p", [row.contrast.p for row in rows], right=True, text=_p, exact=None),
        Column("+-seeds", [_part(row.contrast.se_seed) for row in rows], right=True, exact=None),
        Column("+-images", [_part(row.contrast.se_image) for row in rows], right=True, exact=None),
    ]
    for table in effects.tables[1:]:
        columns += _columns(table, table.images)
    seeds = "1 seed" if effects.seeds == 1 else f"{effects.seeds} seeds"
    title = f"{effects.study}: effects on {first.metric}, {effects.points} points x {seeds}"
    return TableModel(title, columns, effects_notes(effects))


def _columns(table: EffectTable, heading: str | None) -> list[Column]:
    """Return the column of one image set for people, and those of its numbers for CSV."""
    contrasts = [row.contrast for row in table.effects]
    parts = ("value", "low", "high", "p", "se_seed", "se_image")
    return [
        Column(heading or table.metric, [_interval(row, table) for row in table.effects], exact=None),
        *(
            Column("", [_finite(getattr(each, part)) for each in contrasts], hidden=True,
                   exact=table.metric if part == "value" else f"{table.metric}.{part}")
            for part in parts
        ),
    ]  # fmt: skip


def effects_words(effects: StudyEffects) -> str:
    """Return which effects on validation are certain, in one sentence."""
    table = effects.tables[0]
    sure = [row for row in table.effects if table.is_certain(row)]
    named = first_of([f"{_factor(row)} {_levels(row.term.levels)} {row.contrast.value:+.2g}" for row in sure], 5)
    are = "is" if len(sure) == 1 else "are"
    count = f"{len(sure)} of {len(table.effects)}"
    so_far = "so far: " if effects.is_interim else ""
    if table.about == "checkpoints":
        once = "each ran once" if effects.seeds == 1 else "the seeds of each point gave the same"
        between = f"between these checkpoints {count} differences {are} certain" + (f": {named}" if sure else "")
        return f"{so_far}unknown, {once}, so that no claim about a factor is possible; {between}"
    undecided = f"undecided: none of {len(table.effects)} is certain"
    return so_far + (f"{count} {are} certain: {named}" if sure else undecided)


def effects_notes(effects: StudyEffects) -> list[str]:
    """Return what to know about a table of effects."""
    table, notes = effects.tables[0], []
    if effects.baseline:
        usual = ", ".join(f"{name} {show_bare(value)}" for name, value in effects.baseline.items())
        notes.append(f"each row changes one thing of the baseline: {usual}")
    else:
        notes.append("each row is a difference of averages over the levels of the other factors")
    if any(len(row.term.factors) > 1 for row in table.effects):
        notes.append("a row of two factors is how much the difference between levels of one changes with the other")
    if any(row.term.aliases for row in table.effects):
        notes.append("effects joined by = cannot be told apart by these points")
    level = f"{100 * (1 - effects.level):.4g} %"
    notes.append(f"the {level} intervals of one image set hold together, and p allows for the number of rows")
    if len(effects.tables) > 1:
        notes.append("* marks what is certain")
    if (
        table.about == "configurations"
        and table.basis == "predictions"
        and not all(row.contrast.se_seed for row in table.effects)
    ):
        notes.append("+-seeds of 0: runs of a point differ no more than their images alone let expect")
    if table.about == "checkpoints" and effects.seeds == 1:
        notes.append(f"`study extend {effects.study} --replicates 2` adds the seeds that a claim about a factor takes")
    for limit in dict.fromkeys(each.limit for each in effects.tables if each.limit):
        notes.append(f"{', '.join(each.metric for each in effects.tables if each.limit == limit)}: {limit}")
    return [*notes, *effects.notes]


def effects_json(effects: StudyEffects, matters: float | None = None) -> dict[str, Any]:
    """Return the table as a JSON object."""
    first, shifted = effects.tables[0], effects.tables[1:]
    return {
        "study": effects.study,
        "design": effects.design,
        "metric": first.metric,
        "about": first.about,
        "basis": first.basis,
        "level": effects.level,
        "so_far": effects.is_interim,
        "points": effects.points,
        "seeds": effects.seeds,
        "baseline": dict(effects.baseline),
        "words": effects_words(effects),
        "effects": [
            {
                "factors": list(row.term.factors), "levels": list(row.term.levels),
                "references": list(row.term.references), "aliases": list(row.term.aliases),
                **_as_json(row, first, matters),
                "shifted": {str(table.images): _as_json(table.effects[k], table, matters) for table in shifted},
            }
            for k, row in enumerate(first.effects)
        ],
        "notes": effects_notes(effects),
    }  # fmt: skip


def _as_json(row: Effect, table: EffectTable, matters: float | None) -> dict[str, Any]:
    each = row.contrast
    same = {} if matters is None else {"practically_the_same": row.is_practically_zero(matters)}
    return {"value": each.value, "low": each.low, "high": each.high, "p": each.p, "se_seed": each.se_seed,
            "se_image": each.se_image, "certain": table.is_certain(row), **same}  # fmt: skip


def importance_table(importance: StudyImportance) -> TableModel:
    """Return a row per parameter, the most important on validation first."""
    first = next(iter(importance.shares.values()))
    names = sorted(first, key=lambda name: -first[name])
    title = f"{importance.study}: importance of what was searched, {importance.points} points"
    columns = [Column("parameter", names)]
    for metric, shares in importance.shares.items():
        columns.append(Column(metric, [shares.get(name) for name in names], right=True, text=_share))
    return TableModel(title, columns, importance.notes)


def importance_json(importance: StudyImportance) -> dict[str, Any]:
    """Return the table as a JSON object."""
    return {
        "study": importance.study,
        "design": "search",
        "metric": next(iter(importance.shares)),
        "points": importance.points,
        "importance": {metric: dict(shares) for metric, shares in importance.shares.items()},
        "notes": list(importance.notes),
    }


def _factor(row: Effect) -> str:
    return " = ".join((row.term.name, *row.term.aliases))


def _levels(values: Sequence[Scalar]) -> str:
    return ", ".join(show_bare(value) for value in values)


def _interval(row: Effect, table: EffectTable) -> str:
    each = row.contrast
    if math.isinf(each.high):
        return f"{each.value:+.4f} (unknown)"
    return f"{each.value:+.4f} ({each.low:+.4f} to {each.high:+.4f}){' *' if table.is_certain(row) else ''}"


def _certain(row: Effect, table: EffectTable, matters: float | None) -> str:
    if matters is not None and row.is_practically_zero(matters):
        return "practically the same"
    return "yes" if table.is_certain(row) else "no"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _part(error: float) -> float | None:
    return None if math.isinf(error) else _Z * error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _share(value: float | None) -> str:
    return number(value, 2)

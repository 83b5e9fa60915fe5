"""Commands about images: data faces, data check; with data crop and data mask the group `data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands import photos
from cli.options import ClassNames, Json, folder_argument, folder_option, read_class_names
from cli.output import print_json, short_path
from cli.views.tables import make_table, print_table
from study.utils.text import first_of, printable

if TYPE_CHECKING:
    from study.data.check import DuplicateCounts, FolderCheck


SHOWN_BROKEN = 20
SHOWN_SHEETS = 6
SHOWN_CLASSES = 8
EXIT_REFUSED = 1

app = typer.Typer(help="Make and look at images.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Make and look at images."""


app.command("crop")(photos.crop)
app.command("mask")(photos.mask)


@app.command("faces")
def faces(
    out: Annotated[Path, folder_argument(help="A new or empty folder.", metavar="OUT")],
    count: Annotated[int, typer.Option("--count", help="Images of train, val and test together.", metavar="N")] = 2000,
    size_px: Annotated[int, typer.Option("--size", min=16, max=1024, help="Width and height in pixels.")] = 112,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other faces.")] = 0,
    json: Json = False,
) -> None:
    """Write the built-in masked faces as JPEGs, 60:20:20 in train, val and test, with the shifted sets."""
    from study.data.synthetic_faces import write_folder

    summary = write_folder(out, count, seed=seed, size_px=size_px)
    if json:
        print_json({"out": str(out), "counts": summary.counts, "contact_sheet": str(summary.contact_sheet)})
        return
    for name, classes in summary.counts.items():
        typer.echo(f"{name:10s} " + ", ".join(f"{number} {label}" for label, number in classes.items()))
    typer.echo(f"look at {summary.contact_sheet}; use it with data: {{source: folder, path: {out}}}")


@app.command("check")
def check(
    folder: Annotated[Path, folder_argument(help="A folder of images, with or without splits.")],
    image_size_px: Annotated[
        int, typer.Option("--image-size-px", min=16, max=1024, help="Side that a study would train at.")
    ] = 64,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Regular expression of a group in file paths below DIR.", metavar="RE"),
    ] = None,
    classes: ClassNames = None,
    out: Annotated[Path, folder_option("--out", help="Where the contact sheets go; not in DIR.")] = Path("data-check"),
    json: Json = False,
) -> None:
    """Look a folder of images over, and change nothing in it; exit code 1 where a study would refuse it."""
    from dataclasses import asdict

    from study.config.study_config import DataSpec
    from study.data.check import check_folder

    spec = DataSpec(
        source="folder",
        path=str(folder),
        image_size_px=image_size_px,
        group_by=_regular_expression(group_by),
        classes=read_class_names(classes),
    )
    report = check_folder(spec, out)
    if json:
        print_json(asdict(report))
    else:
        _print_report(report)
    if report.refusal:
        raise typer.Exit(EXIT_REFUSED)


def _print_report(report: FolderCheck) -> None:
    if report.total:
        _print_counts(report)
    _print_faults(report)
    if report.total:
        _print_likeness(report)
    if report.sheets:
        typer.echo(f"look at {first_of([short_path(sheet) for sheet in report.sheets], SHOWN_SHEETS)}")


def _regular_expression(pattern: str | None) -> str | None:
    import re

    from study.errors import UsageError

    try:
        re.compile(pattern or "")
    except (re.error, OverflowError, RecursionError) as exc:
        raise UsageError(f"--group-by must be a regular expression, but {pattern!r} is not: {exc}; correct it") from exc
    return pattern


def _print_counts(report: FolderCheck) -> None:
    read = f"{report.total - len(report.broken)} of {report.total} pictures can be read"
    typer.echo(f"{printable(report.path)}: {read}, {len(report.classes)} classes")
    columns = [printable(label) for label in report.classes]
    rows = [[printable(name), *map(str, of_set.values())] for name, of_set in report.counts.items()]
    totals = [sum(of_set[label] for of_set in report.counts.values()) for label in report.classes]
    if len(columns) <= SHOWN_CLASSES:
        print_table(make_table(["set", *columns], rows, right=columns))
    else:
        for name, of_set in report.counts.items():
            sizes = f"{min(of_set.values())} to {max(of_set.values())} a class"
            typer.echo(f"  {printable(name):12s} {sum(of_set.values())}, {sizes}")
    ratio = "a class has none" if report.imbalance is None else f"{report.imbalance:.2f} : 1"
    typer.echo(f"balance      largest to smallest class {ratio} ({max(totals)} and {min(totals)} pictures)")
    if (px := report.sizes) is not None:
        low, middle, high = (f"{px.width_px[at]}x{px.height_px[at]}" for at in range(3))
        smaller = f"{px.smaller} smaller than {px.target_px} px"
        typer.echo(f"size         least {low}, median {middle}, largest {high} (width x height); {smaller}")


def _print_faults(report: FolderCheck) -> None:
    from study.data.image_files import unread

    if report.refusal:
        typer.echo(f"refused      a study would not run on it: {report.refusal}")
    for notice in report.notices:
        typer.echo(f"note         {notice}")
    broken = len(report.broken)
    share = f" ({broken / report.total:.2%}; a study takes at most 1%)" if broken else ""
    if report.total:
        typer.echo(f"broken       {broken}{share}")
    for line in report.broken[:SHOWN_BROKEN]:
        typer.echo(f"  {line}")
    if broken > SHOWN_BROKEN:
        typer.echo(f"  and {broken - SHOWN_BROKEN} more")
    typer.echo(f"not read     {unread(report.ignored) or '0'}")


def _print_likeness(report: FolderCheck) -> None:
    for pair in report.duplicates:
        first, second = map(printable, pair.between)
        share = f" ({pair.count / pair.total:.2%})" if pair.count else ""
        typer.echo(f"duplicates   {pair.count} of {pair.total} in {second} are nearly in {first} too{share}")
        _print_examples(pair)
    if not report.conflicts:
        typer.echo("conflicts    no picture is nearly in two classes")
    for pair in report.conflicts:
        first, second = map(printable, pair.between)
        typer.echo(f"conflicts    {pair.count} of {second} are nearly in {first} too: {_cause_of_conflicts(report)}")
        _print_examples(pair)


def _cause_of_conflicts(report: FolderCheck) -> str:
    from study.data.framing import read_framing

    framing = read_framing(Path(report.path))
    if framing is not None and framing.masks == "drawn":
        return "a face with and without a drawn mask, or one label is wrong"
    return "one label is wrong"


def _print_examples(likeness: DuplicateCounts) -> None:
    for first, second in likeness.examples:
        typer.echo(f"  {printable(second)} is like {printable(first)}")

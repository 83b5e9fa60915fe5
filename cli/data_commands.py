"""Commands about images: data faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json
from cli.output import print_json

app = typer.Typer(help="Make and look at images.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Make and look at images."""


@app.command("faces")
def faces(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="OUT")],
    count: Annotated[int, typer.Option("--count", help="Images of train, val and test together.", metavar="N")] = 2000,
    size_px: Annotated[int, typer.Option("--size", min=16, max=1024, help="Width and height in pixels.")] = 112,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other faces.")] = 0,
    json: Json = False,
) -> None:
    """Write the built-in masked faces as JPEGs, 60:20:20 in train, val and test, with the shifted sets."""
    from study.data.faces import write_folder

    summary = write_folder(out, count, seed=seed, size_px=size_px)
    if json:
        print_json({"out": str(out), "counts": summary.counts, "contact_sheet": str(summary.contact_sheet)})
        return
    for name, classes in summary.counts.items():
        typer.echo(f"{name:10s} " + ", ".join(f"{number} {one}" for one, number in classes.items()))
    typer.echo(f"look at {summary.contact_sheet}; use it with data: {{source: folder, path: {out}}}")

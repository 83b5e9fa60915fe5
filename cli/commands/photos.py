"""Commands about photographs of people: data crop, data mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import Json, folder_argument, folder_option
from cli.output import print_json, short_path
from study.utils.text import first_of, printable

if TYPE_CHECKING:
    from study.data.synthetic_faces.vocabulary import MaskKind, MaskMode
    from study.photos.crop_folder import CropSummary
    from study.photos.mask_folder import MaskSummary

SHOWN = 20
SHOWN_SHEETS = 6

Source = Annotated[Path, folder_argument(help="A folder of photographs, or one photograph.", metavar="SRC")]
Out = Annotated[Path, folder_argument(help="A new or empty folder, not in SRC.", metavar="OUT")]
SizePx = Annotated[int, typer.Option("--size", min=16, max=1024, help="Width and height in pixels.")]
FramingName = Annotated[
    Literal["eyes", "box"],
    typer.Option("--framing", help="Level the face by eyes and mouth, or cut the detector's box as it stands."),
]


def crop(source: Source, out: Out, size_px: SizePx = 112, framing: FramingName = "eyes", json: Json = False) -> None:
    """Cut every face out of photographs, in the folders they lie in; where there is none, the centre.

    OUT gets faces.csv with every photograph, box and score, framing.json and contact sheets.
    """
    from study.data.framing import Framing
    from study.photos.crop_folder import crop_folder

    summary = crop_folder(source, out, size_px, Framing(kind=framing))
    if json:
        print_json(
            {
                "out": str(out),
                "photos": summary.photos,
                "faces": summary.faces,
                "no_face": list(summary.without_face),
                "unreadable": list(summary.unreadable),
                "not_read": dict(summary.ignored),
                "contact_sheets": [str(path) for path in summary.contact_sheets],
            }
        )
        return
    typer.echo(f"faces        {summary.faces} in {summary.photos} photographs")
    _print_names("no face", summary.without_face, ": the centre was cut out")
    _print_rest(summary)


def mask(
    source: Annotated[
        Path, folder_argument(help="A folder of photographs of people without masks, or one.", metavar="SRC")
    ],
    out: Out,
    kinds: Annotated[
        str, typer.Option("--kinds", help="Masks to draw, each as often.", metavar="KIND,...")
    ] = "surgical,n95,kn95,cloth",
    fits: Annotated[
        str,
        typer.Option(
            "--fit", help="Shares of masks worn properly, below the nose and under the chin.", metavar="FIT=SHARE,..."
        ),
    ] = "proper=0.8,nose=0.1,chin=0.1",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other masks.")] = 0,
    size_px: SizePx = 112,
    framing: FramingName = "eyes",
    discard: Annotated[
        Path | None,
        folder_option("--discard", help="Leave out the files named in it, one a line.", metavar="FILE"),
    ] = None,
    json: Json = False,
) -> None:
    """Draw masks on photographs of unmasked people; every face is written with and without one.

    OUT gets a folder for each class, faces.csv, framing.json and contact sheets of every kind of mask. Faces that are
    not found are listed. How well a model trained on drawn masks does on real ones is unknown until it is tried.
    """
    from study.data.framing import Framing
    from study.photos.mask_folder import MaskWish, mask_folder

    wish = MaskWish(_read_kinds(kinds), _read_fits(fits), seed)
    names = [] if discard is None else _read_lines(discard)
    summary = mask_folder(source, out, size_px, Framing(kind=framing), wish, discard=names)
    if json:
        print_json(
            {
                "out": str(out),
                "photos": summary.photos,
                "counts": dict(summary.counts),
                "masks": dict(summary.masks),
                "no_face": list(summary.without_face),
                "unreadable": list(summary.unreadable),
                "discarded": summary.discarded,
                "not_read": dict(summary.ignored),
                "contact_sheets": [str(path) for path in summary.contact_sheets],
                "group_by": summary.group_by,
            }
        )
        return
    counts = ", ".join(f"{number} {name}" for name, number in summary.counts.items())
    typer.echo(f"pictures     {counts}, of {summary.photos} photographs")
    typer.echo("masks        " + (", ".join(f"{number} {name}" for name, number in summary.masks.items()) or "none"))
    if summary.discarded:
        typer.echo(f"discarded    {summary.discarded}")
    _print_names("no face", summary.without_face, ": left out")
    _print_rest(summary)
    if not any(summary.counts.values()):
        return
    classes = "classes: {improper: not_wearing_mask}, " if summary.counts["improper"] else ""
    typer.echo(f"use it with  data: {{source: folder, path: {out}, {classes}group_by: '{summary.group_by}'}}")
    typer.echo("note         these masks are drawn: try what is trained on them on photographs of real ones")


def _read_kinds(text: str) -> list[MaskKind]:
    from study.data.synthetic_faces.vocabulary import MASK_KINDS
    from study.errors import UsageError

    given = [name.strip() for name in text.split(",")]
    if wrong := [name for name in given if name not in MASK_KINDS]:
        raise UsageError(f"--kinds must be of {','.join(MASK_KINDS)}, got {', '.join(map(repr, wrong))}")
    return [kind for kind in MASK_KINDS if kind in given]


def _read_fits(text: str) -> dict[MaskMode, float]:
    import math

    from study.data.synthetic_faces.vocabulary import MASK_MODES
    from study.errors import UsageError

    rule = "--fit must be shares of proper, nose and chin in [0, 1] that add up to 1, such as proper=0.8,nose=0.2"
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            shares[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"{rule}, got {text!r}") from None
    if set(shares) - set(MASK_MODES) or not all(0 <= share <= 1 for share in shares.values()):
        raise UsageError(f"{rule}, got {text!r}")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise UsageError(f"{rule}, got {text!r}, which adds up to {sum(shares.values()):g}")
    return {mode: shares[mode] for mode in MASK_MODES if mode in shares}


def _read_lines(path: Path) -> list[str]:
    from study.errors import UsageError

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise UsageError(f"--discard must be a text file with a name on each line, but {path}: {exc}") from exc
    return [line.strip() for line in lines if line.strip()]


def _print_rest(summary: CropSummary | MaskSummary) -> None:
    from study.data.image_files import unread

    _print_names("unreadable", summary.unreadable)
    typer.echo(f"not read     {unread(summary.ignored) or '0'}")
    if sheets := list(map(str, summary.contact_sheets)):
        typer.echo(f"look at      {first_of([short_path(sheet) for sheet in sheets], SHOWN_SHEETS)}")


def _print_names(label: str, names: Sequence[str], what: str = "") -> None:
    typer.echo(f"{label:12s} {len(names)}{what if names else ''}")
    for name in names[:SHOWN]:
        typer.echo(f"  {printable(name)}")
    if len(names) > SHOWN:
        typer.echo(f"  and {len(names) - SHOWN} more, in faces.csv")

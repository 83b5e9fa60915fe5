"""Lay pictures out on numbered sheets, each with its name, so that bad ones can be told and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from study.files import write_atomic

FOLDER = "contact_sheets"
COLUMNS = 10
ROWS = 10
TILE_PX = 112
_GAP_PX = 4
_LINE_PX = 12
_LINES = 2
_FONT_PX = 10
_FLAGGED = (214, 39, 40)


@dataclass(frozen=True)
class Tile:
    """A picture and the words below it; a flagged one has a red frame."""

    path: Path
    name: str
    flagged: bool = False


def write_contact_sheets(folder: Path, name: str, tiles: Sequence[Tile]) -> list[Path]:
    """Write FOLDER/contact_sheets/NAME_1.jpg and so on, 100 pictures each, and return them."""
    paths = []
    for page, start in enumerate(range(0, len(tiles), COLUMNS * ROWS), 1):
        paths.append(folder / FOLDER / f"{name}_{page}.jpg")
        sheet = _sheet(tiles[start : start + COLUMNS * ROWS])
        write_atomic(paths[-1], partial(sheet.save, format="JPEG", quality=90), sync=False)
    return paths


def _sheet(tiles: Sequence[Tile]) -> Image.Image:
    wide, tall = TILE_PX + _GAP_PX, TILE_PX + _GAP_PX + _LINES * _LINE_PX
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (columns * wide + _GAP_PX, rows * tall + _GAP_PX), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    for at, tile in enumerate(tiles):
        left, top = _GAP_PX + at % COLUMNS * wide, _GAP_PX + at // COLUMNS * tall
        if tile.flagged:
            pen.rectangle((left - 2, top - 2, left + TILE_PX + 1, top + TILE_PX + 1), fill=_FLAGGED)
        with Image.open(tile.path) as picture:
            sheet.paste(picture.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC), (left, top))
        for line, words in enumerate(_lines(tile.name, font)):
            pen.text((left, top + TILE_PX + 2 + line * _LINE_PX), words, fill="black", font=font)
    return sheet


def _lines(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break a name into lines that fit below a picture; what is too long loses its middle."""
    first = _fitting(name, font)
    rest = name[len(first) :]
    last = _fitting(rest[::-1], font)[::-1]
    return [first, rest] if len(last) == len(rest) else [first, f"..{last[2:]}"]


def _fitting(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the longest beginning of a name that is as wide as a picture at most."""
    length = len(name)
    while length and font.getlength(name[:length]) > TILE_PX:
        length -= 1
    return name[:length]

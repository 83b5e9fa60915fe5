"""Draw boxes with captions on a photograph, legible on any background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from study.photos.detector import Box, Photo

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (0, 158, 115), (86, 180, 233), (204, 121, 167), (240, 228, 66), (213, 94, 0),
)  # fmt: skip
"""Told apart by people who see colours differently (Okabe & Ito 2008); all are light enough for black words."""
_DARK: Colour = (0, 0, 0)
_LIGHT: Colour = (255, 255, 255)
_LINE_SHARE = 1 / 320
_FONT_SHARE = 1 / 36
_SMALL_FONT_SHARE = 1 / 64
_LEAST_FONT_PX = 11
_CAPTION_BOXES = 1.6
"""How many widths of a box a caption may have before all captions become small."""


def draw_boxes(photo: Photo, boxes: Sequence[Box], captions: Sequence[str], colours: Sequence[Colour]) -> Photo:
    """Return a copy of a photograph with a box and a caption for each face.

    Every line is light between two dark ones and every caption black on a light ground, so that both show on any
    picture. A caption stands above its box, below it or in it, where it covers least of the other faces and captions.
    """
    image = Image.fromarray(photo)
    pen = ImageDraw.Draw(image)
    width, font = _line_and_font(photo, _FONT_SHARE)
    if boxes and max(map(font.getlength, captions)) > _CAPTION_BOXES * median(box.right - box.left for box in boxes):
        _, font = _line_and_font(photo, _SMALL_FONT_SHARE)
    for box, colour in zip(boxes, colours, strict=True):
        outer, inner = _grown(box, width), _grown(box, -width)
        for rectangle, ink in ((outer, _DARK), (box, colour), (inner, _DARK)):
            pen.rectangle(rectangle, outline=ink, width=width)
    taken = list(boxes)
    for box, caption, colour in zip(boxes, captions, colours, strict=True):
        places = list(_places(image.size, box, _written_size(pen, caption, font, width), width))
        place = places[int(_covered(places, taken).argmin())]
        _write(pen, place, caption, colour, font, width)
        taken.append(place)
    return np.asarray(image, np.uint8)


def draw_note(photo: Photo, note: str) -> Photo:
    """Return a copy of a photograph with words in its lower left corner."""
    image = Image.fromarray(photo)
    pen = ImageDraw.Draw(image)
    width, font = _line_and_font(photo, _FONT_SHARE)
    wide, tall = _written_size(pen, note, font, width)
    bottom = photo.shape[0] - width
    _write(pen, Box(0.0, bottom - tall, wide, bottom), note, _LIGHT, font, width)
    return np.asarray(image, np.uint8)


def _line_and_font(photo: Photo, font_share: float) -> tuple[int, Font]:
    """Return the width of a line and the font that suit the size of a photograph."""
    longer = max(photo.shape[:2])
    font = ImageFont.load_default(max(_LEAST_FONT_PX, longer * font_share))
    return max(1, round(longer * _LINE_SHARE)), font


def _grown(box: Box, margin: float) -> Box:
    """Return a box with a margin; one that shrinks keeps a pixel."""
    left, top = box.left - margin, box.top - margin
    return Box(left, top, max(left + 1, box.right + margin), max(top + 1, box.bottom + margin))


def _written_size(pen: ImageDraw.ImageDraw, words: str, font: Font, margin: int) -> tuple[float, float]:
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    return right - left + 2 * margin, bottom - top + 2 * margin


def _places(picture: tuple[int, int], box: Box, size: tuple[float, float], margin: int) -> Iterator[Box]:
    """Yield places for a caption within the picture: above the box, below and in it, from its left and to its right."""
    wide, tall = size
    above, below = box.top - margin - tall, box.bottom + margin
    rows = [above] * (above >= 0) + [below] * (below + tall <= picture[1])
    inside = max(0.0, min(box.top + margin, picture[1] - tall)), max(0.0, min(box.bottom - margin, picture[1]) - tall)
    for top in (*rows, *inside):
        for left in (box.left - margin, box.right + margin - wide):
            x = max(0.0, min(left, picture[0] - wide))
            yield Box(x, top, x + wide, top + tall)


def _covered(places: Sequence[Box], taken: Sequence[Box]) -> npt.NDArray[np.float64]:
    """Return the area of all taken boxes that each place covers."""
    first, second = np.array(places)[:, None], np.array(taken)[None]  # [places, 1, 4], [1, taken, 4]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    return np.asarray(np.maximum(sides, 0.0).prod(axis=2).sum(axis=1), np.float64)


def _write(pen: ImageDraw.ImageDraw, place: Box, words: str, colour: Colour, font: Font, margin: int) -> None:
    left, top, *_ = pen.textbbox((0, 0), words, font=font)
    pen.rectangle(place, fill=colour, outline=_DARK)
    pen.text((place.left + margin - left, place.top + margin - top), words, fill=_DARK, font=font)

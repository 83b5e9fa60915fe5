"""Draw boxes with captions on a photograph, legible on any background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from study.photos.detector import Box, Photo

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (0, 158, 115), (86, 180, 233), (204, 121, 167), (240, 228, 66), (213, 94, 0),
)  # fmt: skip
"""Told apart by people who see colours differently (Okabe & Ito 2008); all are light enough for black words."""
_DARK: Colour = (0, 0, 0)
_LIGHT: Colour = (255, 255, 255)
_LINE_SHARE = 1 / 320
_FONT_SHARE = 1 / 36
_LEAST_FONT_PX = 11


def draw_boxes(photo: Photo, boxes: Sequence[Box], captions: Sequence[str], colours: Sequence[Colour]) -> Photo:
    """Return a copy of a photograph with a box and a caption for each face.

    Every line is light between two dark ones and every caption black on a light ground, so that both show on any
    picture. A caption stands above its box, below it or in it, where it has room.
    """
    image = Image.fromarray(photo)
    pen = ImageDraw.Draw(image)
    width, font = _line_and_font(photo)
    for box, colour in zip(boxes, colours, strict=True):
        outer, inner = _grown(box, width), _grown(box, -width)
        for rectangle, ink in ((outer, _DARK), (box, colour), (inner, _DARK)):
            pen.rectangle(rectangle, outline=ink, width=width)
    for box, caption, colour in zip(boxes, captions, colours, strict=True):
        _write(pen, image.size, box, caption, colour, font, width)
    return np.asarray(image, np.uint8)


def draw_note(photo: Photo, note: str) -> Photo:
    """Return a copy of a photograph with words in its lower left corner."""
    image = Image.fromarray(photo)
    width, font = _line_and_font(photo)
    corner = Box(width, photo.shape[0], width, photo.shape[0])
    _write(ImageDraw.Draw(image), image.size, corner, note, _LIGHT, font, width)
    return np.asarray(image, np.uint8)


def _line_and_font(photo: Photo) -> tuple[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return the width of a line and the font that suit the size of a photograph."""
    longer = max(photo.shape[:2])
    font = ImageFont.load_default(max(_LEAST_FONT_PX, longer * _FONT_SHARE))
    return max(1, round(longer * _LINE_SHARE)), font


def _grown(box: Box, margin: float) -> Box:
    """Return a box with a margin; one that shrinks keeps a pixel."""
    left, top = box.left - margin, box.top - margin
    return Box(left, top, max(left + 1, box.right + margin), max(top + 1, box.bottom + margin))


def _write(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Box,
    caption: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    margin: int,
) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), caption, font=font)
    wide, tall = right - left + 2 * margin, bottom - top + 2 * margin
    x = max(0.0, min(box.left - margin, size[0] - wide))
    above, below = box.top - margin - tall, box.bottom + margin
    y = above if above >= 0 else below if below + tall <= size[1] else max(0.0, box.top + margin)
    pen.rectangle((x, y, x + wide, y + tall), fill=colour, outline=_DARK)
    pen.text((x + margin - left, y + margin - top), caption, fill=_DARK, font=font)

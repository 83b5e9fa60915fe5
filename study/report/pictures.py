"""Small pictures for a page, as data URLs."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from study.report.content import WrongImage
from study.report.elements import Picture
from study.utils.text import printable

_SIDE_PX = 96
_QUALITY = 82


def picture_of(image: WrongImage) -> Picture:
    """Return an image with its caption."""
    is_wrong = image.true != image.called
    called = f"called {image.called}" if is_wrong else "called right"
    caption = [image.name.rpartition("/")[2], f"true {image.true}", f"{called}, score of the truth {image.score:.3f}"]
    if image.runs > 1:
        caption.append(f"wrong in {image.misses} of {image.runs} that may be the best")
    return Picture(data_url(image.pixels), tuple(map(printable, caption)), is_wrong)


def data_url(pixels: np.ndarray) -> str:
    """Return an image [S, S, 3] of uint8 as a JPEG of at most 96 px."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    with BytesIO() as file:
        picture.save(file, "JPEG", quality=_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")

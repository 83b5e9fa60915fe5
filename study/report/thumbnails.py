"""Show the validation images a trial was most wrong about, as inline pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.report.curves import Floats, Labels, most_wrong

MOST_WRONG = 25
_MAX_SIDE_PX = 160
_JPEG_QUALITY = 90


def most_wrong_section(
    scores: Floats, labels: Labels, classes: Sequence[str], images: NDArray[np.uint8], names: Sequence[str]
) -> str:
    """Return HTML with the images of the highest loss, the highest first.

    Args:
        scores: [M, K].
        labels: [M].
        classes: [K].
        images: [M, S, S, 3].
        names: [M].
    """
    places = most_wrong(scores, labels, MOST_WRONG)
    called = scores.argmax(axis=1)
    wrong, errors = int(np.sum(called[places] != labels[places])), int(np.sum(called != labels))
    two = len(classes) == 2
    shown = f"score of {classes[1]}" if two else "score of the true class"
    cells = [
        _cell(images[at], names[at], classes[labels[at]], float(scores[at, 1 if two else labels[at]]),
              called[at] == labels[at])
        for at in places
    ]  # fmt: skip
    return (
        f'<section class="wide" id="most_wrong"><h2>The {len(places)} most wrong validation images</h2>'
        f'<p class="note">Highest loss first; of these {wrong} are called wrong (orange edge), of all {len(labels)} '
        f"validation images {errors}. The number is the {escape(shown)}.</p>"
        f'<div class="pictures">{"".join(cells)}</div></section>'
    )


def _cell(image: NDArray[np.uint8], name: str, true: str, score: float, right: bool) -> str:
    hidden = escape(name)
    # The end of a path tells more than its beginning; the whole stands in the tooltip.
    short = escape(name.rpartition("/")[2])
    return (
        f'<figure class="{"right" if right else "wrong"}"><img alt="{hidden}" title="{hidden}" src="{_inline(image)}">'
        f'<figcaption><span class="name" title="{hidden}">{short}</span>'
        f"true: {escape(true)}<br><b>{score:.4f}</b></figcaption></figure>"
    )


def _inline(image: NDArray[np.uint8]) -> str:
    """Return an image [S, S, 3] as a data URL."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
    with BytesIO() as file:
        picture.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")

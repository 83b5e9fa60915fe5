"""Real photographs for tests: scikit-image's 100 faces and 100 non-faces, 25 x 25 grey, written as a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

FACES = 100


def write_lfw_folder(out: Path) -> Path:
    """Write ``OUT/{face,other}/*.png`` and return ``out``; they ship with scikit-image, nothing is downloaded."""
    for at, picture in enumerate(skimage.data.lfw_subset()):
        folder = out / ("face" if at < FACES else "other")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / f"{at:03d}.png")
    return out

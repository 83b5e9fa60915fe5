"""A picture that is no square becomes one by cropping, stretching or padding."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from study.data.decode import Resize, decode_image, read_picture

FLAG = np.zeros((300, 900, 3), np.uint8)
FLAG[:, :300], FLAG[:, 300:600], FLAG[:, 600:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encode(pixels: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, form, **options)
    return file.getvalue()


def test_stretching_keeps_everything_and_loses_the_aspect() -> None:
    got = decode_image(encode(FLAG), 60, "stretch")
    for at, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        assert (got[:, 20 * at + 3 : 20 * at + 17] == colour).all()


@pytest.mark.parametrize("wide", [True, False])
def test_padding_centres_the_whole_on_black(wide: bool) -> None:
    got = decode_image(encode(FLAG if wide else FLAG.swapaxes(0, 1)), 60, "pad")
    got = got if wide else got.swapaxes(0, 1)
    assert not got[:20].any()
    assert not got[40:].any()
    assert (got[22:38, 3:17] == (255, 0, 0)).all()
    assert (got[22:38, 43:57] == (0, 0, 255)).all()


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_a_square_is_the_same_whatever_the_way(resize: Resize) -> None:
    photo = encode(skimage.data.astronaut())
    assert np.array_equal(decode_image(photo, 48, resize), decode_image(photo, 48))


@pytest.mark.parametrize("shape", [(1600, 300), (300, 1600), (1000, 900)])
@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_a_jpeg_is_never_decoded_too_small(resize: Resize, shape: tuple[int, int]) -> None:
    photo = cv2.resize(skimage.data.astronaut(), shape[::-1], interpolation=cv2.INTER_CUBIC)
    plain, short = decode_image(encode(photo), 64, resize), decode_image(encode(photo, "JPEG", quality=98), 64, resize)
    # With half as many pixels decoded the last shape differs by 3.4, 4.0 and 4.6, with a quarter the others by 9 to 14.
    assert np.abs(plain.astype(float) - short).mean() < 3.2


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("orientation", [6, 8])
def test_a_turned_jpeg_is_set_upright_first(resize: Resize, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = cv2.resize(skimage.data.astronaut(), (1200, 400), interpolation=cv2.INTER_AREA)
    stored = encode(np.rot90(upright, 1 if orientation == 6 else -1), "JPEG", exif=exif, quality=98)
    assert read_picture(stored, 64, resize).size_px == (1200, 400)
    assert np.abs(decode_image(stored, 64, resize).astype(float) - decode_image(encode(upright), 64, resize)).mean() < 2


def test_a_very_long_picture_keeps_one_row() -> None:
    got = decode_image(encode(np.full((2, 900, 3), 200, np.uint8)), 32, "pad")
    assert (got.sum((1, 2)) > 0).sum() == 1

"""`predict.py` of a bundle sees every picture as the training did, pixel for pixel."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from study.data.decode import MAX_TEXT_BYTES, decode_image, quiet_pillow
from study.export import predict_script

RNG = np.random.default_rng(3)
SIZE = 48


def photo(width: int, height: int, channels: int = 3) -> np.ndarray:
    """Smooth and noisy parts, so that every filter differs from every other."""
    coarse = RNG.integers(0, 256, (height // 16 + 1, width // 16 + 1, channels), np.uint8)
    smooth = np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:height, :width]
    return (smooth // 2 + RNG.integers(0, 128, smooth.shape, np.uint8)).astype(np.uint8)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(orientation: int, form: str) -> bytes:
    image = Image.fromarray(photo(300, 170))
    exif = image.getexif()
    exif[0x0112] = orientation
    return encode(image, form, exif=exif)


def sixteen_bit() -> bytes:
    return encode(Image.fromarray(photo(90, 70, 1)[..., 0].astype(np.uint16) * 251 + 40), "PNG")


def transparent_palette() -> bytes:
    image = Image.fromarray(photo(120, 80)).quantize(32)
    return encode(image, "PNG", transparency=3)


def with_text(length: int, *, compressed: bool, profile: bool = False) -> bytes:
    """A PNG with a comment, or a colour profile, of so many bytes."""
    image, text = Image.fromarray(photo(70, 90)), PngImagePlugin.PngInfo()
    if profile:
        return encode(image, "PNG", icc_profile=bytes(length))
    text.add_text("Comment", "x" * length, zip=compressed)
    return encode(image, "PNG", pnginfo=text)


PICTURES = {
    **{f"jpeg turned {orientation}": turned(orientation, "JPEG") for orientation in range(1, 9)},
    **{f"png turned {orientation}": turned(orientation, "PNG") for orientation in (3, 6, 7)},
    "unknown orientation": turned(77, "JPEG"),
    "large jpeg": encode(Image.fromarray(photo(1900, 1100)), "JPEG", quality=90),
    "tall jpeg": encode(Image.fromarray(photo(90, 1500)), "JPEG"),
    "progressive jpeg": encode(Image.fromarray(photo(640, 480)), "JPEG", progressive=True),
    "grey jpeg": encode(Image.fromarray(photo(400, 300, 1)[..., 0]), "JPEG"),
    "cmyk": encode(Image.fromarray(photo(500, 400)).convert("CMYK"), "JPEG"),
    "small": encode(Image.fromarray(photo(20, 31)), "PNG"),
    "exactly the size": encode(Image.fromarray(photo(SIZE, SIZE)), "PNG"),
    "one pixel": encode(Image.fromarray(photo(1, 1)), "PNG"),
    "a line": encode(Image.fromarray(photo(2000, 2)), "PNG"),
    "16 bit": sixteen_bit(),
    "16 bit tiff": encode(Image.fromarray(photo(90, 70, 1)[..., 0].astype(np.uint16) * 200), "TIFF"),
    "rgba": encode(Image.fromarray(photo(200, 150, 4), "RGBA"), "PNG"),
    "grey with alpha": encode(Image.fromarray(photo(99, 150, 2), "LA"), "PNG"),
    "palette": encode(Image.fromarray(photo(120, 80)).quantize(64), "PNG"),
    "transparent palette": transparent_palette(),
    "black and white": encode(Image.fromarray(photo(120, 80, 1)[..., 0]).convert("1"), "PNG"),
    "gif": encode(Image.fromarray(photo(120, 80)), "GIF"),
    "webp": encode(Image.fromarray(photo(320, 200, 4), "RGBA"), "WEBP", lossless=True),
    "bmp": encode(Image.fromarray(photo(320, 200)), "BMP"),
    "long comment": with_text(3_000_000, compressed=True),
    "long plain comment": with_text(3_000_000, compressed=False),
    "large colour profile": with_text(3_000_000, compressed=True, profile=True),
    "tiff": encode(Image.fromarray(photo(320, 200)).convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("mode", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("picture", list(PICTURES))
def test_no_pixel_differs_from_the_decoder_of_the_training(picture: str, mode: str) -> None:
    with warnings.catch_warnings():
        quiet_pillow()
        expected = decode_image(PICTURES[picture], SIZE, mode)
        pixels = predict_script.decode(PICTURES[picture], SIZE, mode)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_the_pictures_tell_other_ways_apart() -> None:
    with Image.open(io.BytesIO(PICTURES["large jpeg"])) as image:
        other = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert (other != decode_image(PICTURES["large jpeg"], SIZE, "stretch")).mean() > 0.2


WIDE = encode(Image.fromarray(photo(9, 9)[..., 0].astype(np.int32)), "TIFF")


TOO_LONG = [with_text(MAX_TEXT_BYTES + 1, compressed=True, profile=profile) for profile in (False, True)]


@pytest.mark.parametrize("contents", [b"", b"<svg/>", PICTURES["large jpeg"][:4000], WIDE, *TOO_LONG])
def test_what_the_training_refuses_is_refused(contents: bytes) -> None:
    with pytest.raises(Exception):  # noqa: B017
        decode_image(contents, SIZE)
    with pytest.raises(Exception):  # noqa: B017
        predict_script.decode(contents, SIZE, "crop")

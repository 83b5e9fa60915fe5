"""Every format and mode of picture becomes the array a person would expect."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from study.data.decode import decode_image, quiet_pillow
from study.errors import DataError

SIDE = 32
RNG = np.random.default_rng(7)
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 3) // 2 + 60
GREY = RGB[..., 0].copy()
ALPHA = np.tile(np.linspace(0, 255, SIDE).round().astype(np.uint8), (SIDE, 1))
LOSSLESS = [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opacity = alpha[..., None] / 255
    return colour * opacity + 255 * (1 - opacity)


def assert_close(got: np.ndarray, want: np.ndarray, most: float) -> None:
    assert got.shape == want.shape
    assert got.dtype == np.uint8
    assert np.abs(got.astype(float) - want).max() <= most


@pytest.mark.parametrize("form, options", LOSSLESS)
def test_colour_of_a_lossless_format_is_kept_exactly(form: str, options: dict[str, object]) -> None:
    assert_close(decode_image(encode(Image.fromarray(RGB), form, **options), SIDE), RGB, 0)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_becomes_three_equal_channels(form: str) -> None:
    assert_close(decode_image(encode(Image.fromarray(GREY), form), SIDE), as_rgb(GREY), 0)


@pytest.mark.parametrize("picture, want", [(RGB, RGB), (GREY, as_rgb(GREY))])
def test_jpeg_is_close_to_what_was_saved(picture: np.ndarray, want: np.ndarray) -> None:
    contents = encode(Image.fromarray(picture), "JPEG", quality=98, subsampling=0)
    assert_close(decode_image(contents, SIDE), want, 8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_one_bit_becomes_black_and_white(form: str) -> None:
    bits = np.median(GREY) < GREY
    assert_close(decode_image(encode(Image.fromarray(bits), form), SIDE), as_rgb(bits * np.uint8(255)), 0)


@pytest.mark.parametrize("form, options", [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_lies_on_white(form: str, options: dict[str, object]) -> None:
    contents = encode(Image.fromarray(np.dstack([RGB, ALPHA])), form, **options)
    assert_close(decode_image(contents, SIDE), on_white(RGB, ALPHA), 1)


def test_transparent_grey_lies_on_white() -> None:
    contents = encode(Image.fromarray(np.dstack([GREY, ALPHA])), "PNG")
    assert Image.open(io.BytesIO(contents)).mode == "LA"
    assert_close(decode_image(contents, SIDE), on_white(as_rgb(GREY), ALPHA), 1)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_is_looked_up(form: str) -> None:
    few = (RGB // 32) * 32
    palette = Image.fromarray(few).quantize(256)
    want = np.asarray(palette.convert("RGB"))
    assert np.unique(want.reshape(-1, 3), axis=0).shape[0] > 4
    assert_close(decode_image(encode(palette, form), SIDE), want, 0)


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255, 255])])
def test_transparent_palette_lies_on_white(transparency: int | bytes) -> None:
    places = np.indices((SIDE, SIDE)).sum(0) % 4
    colours = np.array([[250, 0, 0], [0, 200, 0], [0, 0, 150], [20, 30, 40]], np.uint8)
    image = Image.new("P", (SIDE, SIDE))
    image.putdata(places.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    opacity = np.array([0, 255, 255, 255]) if transparency == 0 else np.array([0, 128, 255, 255])
    got = decode_image(encode(image, "PNG", transparency=transparency), SIDE)
    assert_close(got, on_white(colours[places], opacity[places]), 1)


def test_transparent_gif_lies_on_white() -> None:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([250, 0, 0, 0, 200, 0])
    image.paste(0, (0, 0, SIDE // 2, SIDE))
    got = decode_image(encode(image, "GIF", transparency=0), SIDE)
    assert (got[:, : SIDE // 2] == 255).all()
    assert (got[:, SIDE // 2 :] == (0, 200, 0)).all()


def test_transparent_colour_of_an_rgb_png_lies_on_white() -> None:
    image = Image.new("RGB", (SIDE, SIDE), (1, 2, 3))
    image.paste((9, 8, 7), (0, 0, SIDE // 2, SIDE))
    got = decode_image(encode(image, "PNG", transparency=(9, 8, 7)), SIDE)
    assert (got[:, : SIDE // 2] == 255).all()
    assert (got[:, SIDE // 2 :] == (1, 2, 3)).all()


@pytest.mark.parametrize("form, most", [("TIFF", 1), ("JPEG", 8)])
def test_ink_becomes_light(form: str, most: int) -> None:
    ink = np.dstack([RGB // 2, np.flip(GREY) // 3]).astype(np.uint8)
    contents = encode(cmyk(ink), form, **jpeg_options(form))
    want = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:]) / 255
    assert_close(decode_image(contents, SIDE), want, most)


def cmyk(ink: np.ndarray) -> Image.Image:
    return Image.merge("CMYK", [Image.fromarray(ink[..., channel]) for channel in range(4)])


def jpeg_options(form: str) -> dict[str, object]:
    return {"quality": 99, "subsampling": 0} if form == "JPEG" else {}


def test_inverted_ink_as_adobe_writes_it() -> None:
    contents = encode(cmyk(np.zeros((SIDE, SIDE, 4), np.uint8)), "JPEG")
    assert b"Adobe" in contents
    # No ink is stored as 255 in such a file: white, where taking the numbers as they are gives black.
    assert (decode_image(contents, SIDE) == 255).all()


@pytest.mark.parametrize("form, mode", [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_sixteen_bit_grey_is_scaled_not_clipped(form: str, mode: str) -> None:
    wide = np.linspace(0, 65535, SIDE * SIDE).round().astype(np.uint16).reshape(SIDE, SIDE)
    image = Image.frombytes("I;16B" if mode == ">u2" else "I;16", (SIDE, SIDE), wide.astype(mode).tobytes())
    got = decode_image(encode(image, form), SIDE)
    assert_close(got, as_rgb(wide / 257), 0.5)
    assert got.min() == 0
    assert got.max() == 255


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_is_scaled(channels: int) -> None:
    wide = RGB.astype(np.uint16) * 257
    stored = np.dstack([wide, np.full_like(GREY, 255).astype(np.uint16) * 257])[..., :channels]
    order = [2, 1, 0, 3][:channels]
    contents = cv2.imencode(".png", stored[..., order])[1].tobytes()
    assert_close(decode_image(contents, SIDE), RGB, 1)


@pytest.mark.parametrize("pixels", [GREY.astype(np.float32), GREY.astype(np.int32)])
def test_numbers_of_unknown_range_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="unknown range"):
        decode_image(encode(Image.fromarray(pixels), "TIFF"), SIDE)


STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("form, options", [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
@pytest.mark.parametrize("orientation", STORED)
def test_camera_orientation_is_honoured(orientation: int, form: str, options: dict[str, object]) -> None:
    upright = RGB[:27]  # an odd remainder, so that cropping on the wrong side shows
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    got = decode_image(encode(stored, form, exif=exif, **options), 27)
    assert_close(got, upright[:, 2:29], 0)


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_a_big_jpeg(orientation: int) -> None:
    upright = cv2.resize(RGB, (640, 400), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    got = decode_image(encode(stored, "JPEG", exif=exif, quality=95), SIDE)
    want = cv2.resize(upright[:, 120:520], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(got.astype(float) - want).mean() < 2


def test_unreadable_metadata_does_not_break_a_picture() -> None:
    contents = encode(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=98, subsampling=0)
    with warnings.catch_warnings():
        quiet_pillow()
        assert_close(decode_image(contents, SIDE), RGB, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_shrinking_a_photo_averages_its_pixels(form: str) -> None:
    photo = skimage.data.astronaut()[:, :448]
    got = decode_image(encode(Image.fromarray(photo), form, quality=95), 48)
    want = cv2.resize(photo[32:480], (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(got.astype(float) - want).mean() < 5
    assert abs(got.mean() - want.mean()) < 0.7


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_shrinking_fine_stripes_gives_grey_not_moire(form: str) -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (500, 250))
    got = decode_image(encode(Image.fromarray(stripes), form, quality=95), 48)
    assert np.abs(got.astype(float) - 127.5).max() < 12


def test_enlarging_is_bicubic() -> None:
    want = np.asarray(Image.fromarray(RGB).resize((80, 80), Image.Resampling.BICUBIC))
    assert_close(decode_image(encode(Image.fromarray(RGB), "PNG"), 80), want, 0)


@pytest.mark.parametrize("wide", [True, False])
def test_the_centre_is_cut_out(wide: bool) -> None:
    flag = np.zeros((300, 900, 3), np.uint8)
    flag[:, :300], flag[:, 300:600], flag[:, 600:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    flag = flag if wide else flag.swapaxes(0, 1)
    got = decode_image(encode(Image.fromarray(np.ascontiguousarray(flag)), "PNG"), 50)
    assert (got[3:-3, 3:-3] == (0, 255, 0)).all()


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(16, 48), jpeg=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_shape_becomes_a_square_of_the_same_colour(width: int, height: int, size: int, jpeg: bool) -> None:
    plain = Image.new("RGB", (width, height), (200, 100, 50))
    got = decode_image(encode(plain, "JPEG" if jpeg else "PNG"), size)
    assert_close(got, np.full((size, size, 3), (200, 100, 50)), 3 if jpeg else 0)


def test_the_first_of_several_frames_counts() -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    for form in ("GIF", "PNG", "TIFF", "WEBP", "MPO"):
        got = decode_image(encode(frames[0], form, save_all=True, append_images=frames[1:]), SIDE)
        assert got[..., 0].min() > 200, form
        assert got[..., 2].max() < 50, form


def test_a_file_and_its_contents_give_the_same(tmp_path: Path) -> None:
    file = tmp_path / "büro 写真.jpg"
    file.write_bytes(encode(Image.fromarray(RGB), "PNG"))  # what it is decides, not what it is called
    assert np.array_equal(decode_image(file, 20), decode_image(file.read_bytes(), 20))


PNG = encode(Image.fromarray(RGB), "PNG")
JPEG = encode(Image.fromarray(RGB), "JPEG", quality=100)
WEBP = encode(Image.fromarray(RGB), "WEBP", lossless=True)


def with_text(compressed_bytes: int) -> bytes:
    """Return the PNG with a comment that unpacks to so many bytes."""
    data = b"Comment\0\0" + zlib.compress(bytes(compressed_bytes), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return PNG[:33] + chunk + PNG[33:]  # behind the head


BROKEN = {
    "a bomb of text": (with_text(50_000_000), "a text or colour profile in a PNG must have at most 16 MiB"),
    "a bomb of a colour profile": (
        encode(Image.fromarray(RGB), "PNG", icc_profile=bytes(50_000_000)),
        "colour profile in a PNG must have at most",
    ),
    "nothing": (b"", "empty"),
    "half a PNG": (PNG[: len(PNG) // 2], "damaged"),
    "half a JPEG": (JPEG[: len(JPEG) * 3 // 4], "truncated"),
    "a JPEG's header": (JPEG[:100], "damaged"),
    "a PNG's header": (PNG[:40], "damaged|not a picture"),
    "half a WebP": (WEBP[: len(WEBP) // 2], "damaged|not a picture"),
    "a text": (b"404 not found", "not a picture"),
    "zeros": (bytes(5000), "not a picture"),
    "a format that is not read": (encode(Image.fromarray(RGB), "PPM"), "not a picture"),
    "a changed PNG": (PNG[:100] + bytes([PNG[100] ^ 255]) + PNG[101:], "damaged"),
}


@pytest.mark.parametrize("contents, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_picture_is_an_error_with_its_reason(contents: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_image(contents, SIDE)


ODD = {
    "text": with_text(10_000),
    "a text as long as a book": with_text(10_000_000),
    "a profile as large as a photograph": encode(Image.fromarray(RGB), "PNG", icc_profile=RNG.bytes(4_000_000)),
    "many frames": encode(Image.fromarray(RGB), "PNG", save_all=True, append_images=[Image.fromarray(GREY)] * 300),
    "a large profile": encode(Image.fromarray(RGB), "PNG", icc_profile=RNG.bytes(300_000)),
    "a large comment": encode(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0" + RNG.bytes(60_000)),
    "something behind it": PNG + RNG.bytes(100_000),
}


@pytest.mark.parametrize("contents", ODD.values(), ids=ODD)
def test_what_else_a_file_holds_does_not_matter(contents: bytes) -> None:
    assert np.array_equal(decode_image(contents, SIDE), RGB)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        decode_image(tmp_path / "gone.png", SIDE)


@pytest.mark.parametrize("limit_px", [SIDE * SIDE - 1, SIDE * SIDE // 2 - 1])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_picture_over_the_size_limit_is_refused(limit_px: int, quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_px)
    with warnings.catch_warnings():
        quiet_pillow() if quiet else warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=f"more than {limit_px} pixels"):
            decode_image(PNG, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE)
    assert decode_image(PNG, 16).shape == (16, 16, 3)

"""Turn one picture file, whatever its format and mode, into a square RGB array."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError, features

from study.errors import DataError

DECODER_VERSION = 2
HAS_AVIF = bool(features.check("avif"))
HAS_HEIF = find_spec("pillow_heif") is not None
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", *["AVIF"] * HAS_AVIF, *["HEIF"] * HAS_HEIF)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", *[".avif"] * HAS_AVIF,
    *(HEIF_SUFFIXES if HAS_HEIF else ()),
})  # fmt: skip
MAX_FILE_BYTES = 512 * 2**20
"""As many as the largest picture that Pillow takes has without compression, with 16 bit of red, green and blue."""
_PEEKED_BYTES = 16 * 2**20
"""Of files larger than this the head is read first, so that nothing that is no picture is read whole."""
MAX_TEXT_BYTES = 16 * 2**20
"""Of one text or colour profile in a PNG, which may be compressed a thousandfold; Pillow allows 1 MB."""
DARK_MAX = 64
"""Of 255: what 14 bits in a picture of 16 bit come to, and as much as none of them may exceed to be called dark."""
BACKGROUND = (255, 255, 255, 255)
PAD_FILL = (0, 0, 0)
# Twice the target keeps the antialiasing of the last step clean (Pillow's own choice for thumbnails).
DRAFT_GAP = 2
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = frozenset({5, 6, 7, 8})

Resize = Literal["crop", "stretch", "pad"]


PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_BYTES
if HAS_HEIF:
    import_module("pillow_heif").register_heif_opener()


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 RGB [S, S, 3], the stored width and height, upright, and whether values had 16 bit."""

    pixels: npt.NDArray[np.uint8]
    size_px: tuple[int, int]
    is_wide: bool


def decode_image(source: Path | bytes, image_size_px: int, resize: Resize = "crop") -> npt.NDArray[np.uint8]:
    """Return the pixels of `read_picture`, uint8 RGB [S, S, 3]."""
    return read_picture(source, image_size_px, resize).pixels


def read_picture(source: Path | bytes, image_size_px: int, resize: Resize = "crop") -> Picture:
    """Decode a picture, set it upright and make it a square.

    It is shrunk with an antialiasing Lanczos filter or enlarged with a bicubic one. Transparent parts lie on white.
    Grey of 16 bit is scaled to 8 bit, not clipped. Of several frames the first counts. Colour profiles are not applied.

    Args:
        source: a file, or its contents.
        image_size_px: side S of the result.
        resize: "crop" keeps the central square as large as the shorter side; "stretch" brings both sides to S, which
            loses the aspect; "pad" brings the longer side to S, centred on black.

    Raises:
        DataError: the picture cannot be read; the message is the reason, without the path.
    """
    contents = _read(source)
    with _reasons():
        return _decode(contents, image_size_px, resize)


def read_photo(source: Path | bytes) -> npt.NDArray[np.uint8]:
    """Decode a picture at its full size and set it upright, uint8 RGB [H, W, 3]; the rest is as in `read_picture`.

    Raises:
        DataError: the picture cannot be read; the message is the reason, without the path.
    """
    contents = _read(source)
    with _reasons(), _open(io.BytesIO(contents)) as image:
        image.load()
        upright = _set_upright(_flatten(image), _orientation(image))
        return np.array(upright.convert("RGB"), np.uint8)


def _read(source: Path | bytes) -> bytes:
    contents = source if isinstance(source, bytes) else _read_file(source)
    if not contents:
        raise DataError("the file is empty")
    if contents.startswith(b"version https://git-lfs"):
        raise DataError("a Git LFS pointer, not the picture itself; get it with `git lfs pull`")
    return contents


def _read_file(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for who writes into it
            raise DataError("a folder, pipe or device, not a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise DataError(
                    f"the file of a picture must have at most {MAX_FILE_BYTES // 10**6} MB, but has {size // 10**6}"
                )
            if size > _PEEKED_BYTES:
                with _reasons(), _open(file):
                    pass
                file.seek(0)
            return file.read(size)
    except OSError as exc:
        raise DataError(exc.strerror or str(exc)) from exc


def stored_size_px(contents: bytes) -> tuple[int, int]:
    """Return the width and height that a picture file names, without decoding it.

    Raises:
        DataError: it is no picture, or has more pixels than Pillow takes.
    """
    with _reasons(), Image.open(io.BytesIO(contents), formats=FORMATS) as image:
        return image.size


def is_picture(path: str) -> bool:
    """Whether a file begins as one of the formats that are read, whatever it is called."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # a damaged file can raise anything out of a decoder
        return False


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what a decoder raises into the reason."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as exc:
        raise DataError(f"not a picture in one of the formats {', '.join(FORMATS)}") from exc
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise DataError(f"more than {Image.MAX_IMAGE_PIXELS} pixels, refused as a decompression bomb") from exc
    except Exception as exc:  # a damaged file can raise anything out of a decoder
        if "MAX_TEXT" in str(exc):  # Pillow names its limits
            raise DataError(
                f"a text or colour profile in a PNG must have at most {MAX_TEXT_BYTES // 2**20} MiB, and all together "
                f"{PngImagePlugin.MAX_TEXT_MEMORY // 2**20}, but they have more; save the picture without them"
            ) from exc
        raise DataError(f"damaged: {exc or type(exc).__name__}") from exc


def quiet_pillow() -> None:
    """Keep Pillow's complaints about odd metadata off the screen and make its size limit an error.

    Changes the process-wide filters: call it inside ``warnings.catch_warnings``, outside the threads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _open(file: IO[bytes]) -> Image.Image:
    image = Image.open(file, formats=FORMATS)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    return image


def _decode(contents: bytes, size_px: int, resize: Resize) -> Picture:
    with _open(io.BytesIO(contents)) as image:
        width, height = _inner_size(image.size, size_px) if resize == "pad" else (size_px, size_px)
        stored, is_wide = image.size, _is_wide(image)
        # JPEG only: decode at 1/2, 1/4 or 1/8, both sides staying at least twice what they become.
        image.draft(None, (width * DRAFT_GAP, height * DRAFT_GAP))
        image.load()
        orientation = _orientation(image)
        upright = _set_upright(_flatten(image), orientation)
    if orientation in TURNED:
        stored, width, height = stored[::-1], height, width
    if resize == "pad":
        return Picture(_pad(upright, (width, height), size_px), stored, is_wide)
    left, top, right, bottom = _centre(upright.size) if resize == "crop" else (0, 0, *upright.size)
    square = _resize(upright, (size_px, size_px), (left, top, right, bottom))
    return Picture(np.array(square.convert("RGB"), np.uint8), stored, is_wide)


def _is_wide(image: Image.Image) -> bool:
    """Whether the file holds 16 bit a value; ask before loading: Pillow keeps the upper 8 bit of colours."""
    if image.format not in ("PNG", "TIFF"):
        return False
    return image.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def _inner_size(size: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Return the width and height that bring the longer side to ``size_px``; the shorter one is at least 1."""
    width, height = (max(1, round(side * size_px / max(size))) for side in size)
    return width, height


def _centre(size: tuple[int, int]) -> tuple[int, int, int, int]:
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return left, top, left + side, top + side


def _pad(image: Image.Image, inner: tuple[int, int], size_px: int) -> npt.NDArray[np.uint8]:
    square = Image.new("RGB", (size_px, size_px), PAD_FILL)
    whole = _resize(image, inner, (0, 0, *image.size))
    square.paste(whole.convert("RGB"), ((size_px - inner[0]) // 2, (size_px - inner[1]) // 2))
    return np.array(square, np.uint8)


def _orientation(image: Image.Image) -> int:
    """Return how the camera was held, 1 to 8; ask after loading, because PNG may hold it behind the pixels."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable metadata says nothing about the pixels
        return 1


def _set_upright(image: Image.Image, orientation: int) -> Image.Image:
    method = TO_UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit L or RGB without transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        wide = np.asarray(image).astype(np.int32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))  # 65535 = 255 * 257
    if image.mode in ("I", "F"):
        raise DataError("the pixels are 32-bit numbers of unknown range; save it with 8 or 16 bit")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _resize(image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    shrinks = box[2] - box[0] > size[0] or box[3] - box[1] > size[1]
    return image.resize(
        size,
        Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC,
        box=box,
        reducing_gap=3.0 if shrinks else None,
    )

"""Classify pictures with the model in this folder: `python predict.py PICTURE...`; needs onnxruntime, numpy, pillow."""

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import ExifTags, Image, PngImagePlugin, features

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", *["AVIF"] * bool(features.check("avif")))
PngImagePlugin.MAX_TEXT_CHUNK, HERE, FILES = 16 * 2**20, Path(__file__).resolve().parent, ("config.json", "model.onnx")
UPRIGHT = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))  # by EXIF orientation


def decode(contents: bytes, size: int, mode: str) -> np.ndarray:
    """Return a picture as in training: uint8 RGB [size, size, 3], upright, on white; mode is crop, stretch or pad."""
    with Image.open(io.BytesIO(contents), formats=FORMATS) as image:
        if (most := Image.MAX_IMAGE_PIXELS) and image.width * image.height > most:
            raise ValueError(f"more than {most} pixels")
        inner = [max(1, round(side * size / max(image.size))) for side in image.size] if mode == "pad" else [size] * 2
        image.draft(None, (inner[0] * 2, inner[1] * 2))  # reads a JPEG at 1/2, 1/4 or 1/8
        image.load()
        try:
            orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # unreadable metadata says nothing about the pixels
            orientation = 1
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            flat = Image.fromarray(((np.asarray(image).astype(np.int32) + 128) // 257).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError("the pixels are 32-bit numbers of unknown range")
        elif image.has_transparency_data:
            flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        else:
            flat = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if orientation in UPRIGHT:
        flat, inner = flat.transpose(UPRIGHT[orientation]), inner[::-1] if orientation > 4 else inner
    left, top = ((edge - min(flat.size)) // 2 for edge in flat.size)
    box = (left, top, left + min(flat.size), top + min(flat.size)) if mode == "crop" else (0, 0, *flat.size)
    shrinks = box[2] - box[0] > inner[0] or box[3] - box[1] > inner[1]
    way = (Image.Resampling.LANCZOS, box, 3.0) if shrinks else (Image.Resampling.BICUBIC, box, None)
    pixels = np.asarray(flat.resize(inner, *way).convert("RGB"))
    return np.pad(pixels, [*[((size - edge) // 2, (size - edge + 1) // 2) for edge in pixels.shape[:2]], (0, 0)])


def main() -> None:
    """Print each picture's class and its probability, of two classes that of the second, or why it cannot be read."""
    sums, files = (HERE / "SHA256SUMS").read_text("utf-8"), {name: (HERE / name).read_bytes() for name in FILES}
    if changed := [name for name in FILES if f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" not in sums]:
        sys.exit(f"{HERE / changed[0]} is damaged or was changed: its SHA-256 is not that in SHA256SUMS")
    config, options, failed = json.loads(files["config.json"]), onnxruntime.SessionOptions(), False
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more are slower on a busy machine
    session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=["CPUExecutionProvider"])
    classes, *how = config["classes"], *(config["preprocessing"][key] for key in ("image_size_px", "resize_mode"))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for name in sys.argv[1:] or sys.exit(__doc__):
        try:
            score = session.run(["probability"], {"images": decode(Path(name).read_bytes(), *how)[None]})[0][0]
            which = int(score > config["threshold"] if len(classes) == 2 else score.argmax())
            result = classes[which], f"{score if len(classes) == 2 else score[which]:.7f}"
        except Exception as error:  # a damaged file can raise anything out of a decoder
            result, failed = ("-", f"cannot be read: {str(error).partition(' <_io.')[0] or type(error).__name__}"), True
        print(*("".join(c if c.isprintable() else repr(c)[1:-1] for c in text) for text in (name, *result)), sep="\t")
    sys.exit(failed)


if __name__ == "__main__":
    main()

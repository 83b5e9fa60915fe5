"""From one photograph to the pictures a model looks at: its faces in the model's framing, or the photograph itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from study.data.decode import Resize, decode_image, read_photo
from study.data.framing import Framing
from study.photos.alignment import cut_square, face_square
from study.photos.detector import DetectedFace, FaceDetector, Photo

Detect = Literal["auto", "always", "never"]
Reason = Literal["faces", "small", "no face", "not looked for"]


@dataclass(frozen=True)
class PhotoFaces:
    """The pictures of one photograph, uint8 RGB [N, S, S, 3]; ``faces`` has N, or none where ``why`` says so.

    ``why`` is "faces" where every picture is a face. Otherwise the whole photograph is the one picture: it is "small",
    of the model's size or less, there was "no face", or faces were "not looked for". ``photo`` is upright, at full
    size; None where it was not needed.
    """

    images: npt.NDArray[np.uint8]
    faces: tuple[DetectedFace, ...]
    why: Reason
    photo: Photo | None


def read_faces(
    source: Path | bytes,
    size_px: int,
    framing: Framing,
    detector: FaceDetector,
    *,
    detect: Detect = "auto",
    resize: Resize = "crop",
) -> PhotoFaces:
    """Cut every face out of a photograph, the largest first.

    Args:
        source: a file, or its contents.
        size_px: side S of the pictures.
        framing: how faces lay in the model's training pictures.
        detector: of this thread.
        detect: ``auto`` takes a photograph of S x S px or less as it is, ``always`` looks for faces in it too,
            ``never`` takes every photograph as it is.
        resize: how a photograph that is taken as it is becomes a square.

    Raises:
        DataError: it cannot be read, or is too small to hold a face where one has to be looked for.
    """
    if detect == "never":
        return PhotoFaces(decode_image(source, size_px, resize)[None], (), "not looked for", None)
    photo = read_photo(source)
    if detect == "auto" and max(photo.shape[:2]) <= size_px:
        return PhotoFaces(decode_image(source, size_px, resize)[None], (), "small", photo)
    faces = tuple(detector.detect(photo))
    if not faces:
        return PhotoFaces(decode_image(source, size_px, resize)[None], (), "no face", photo)
    return PhotoFaces(cut_faces(photo, faces, size_px, framing), faces, "faces", photo)


def cut_faces(photo: Photo, faces: Sequence[DetectedFace], size_px: int, framing: Framing) -> npt.NDArray[np.uint8]:
    """Return the faces of a photograph in a framing, uint8 RGB [N, size_px, size_px, 3]."""
    images = [cut_square(photo, face_square(face, framing), size_px) for face in faces]
    return np.stack(images) if images else np.empty((0, size_px, size_px, 3), np.uint8)

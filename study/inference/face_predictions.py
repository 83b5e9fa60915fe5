"""Predict the faces in photographs: found, cut in the framing of the bundle's training pictures, classified, drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.data.decode import Resize
from study.data.framing import Framing, parse_framing
from study.errors import DataError
from study.files import write_atomic
from study.inference.classifier import Classifier, Prediction, classify
from study.photos.detector import DetectedFace, FaceDetector
from study.photos.drawing import COLOURS, Colour, draw_boxes
from study.photos.face_files import for_each_photo
from study.photos.faces import Detect, PhotoFaces, read_faces

BATCH = 32
_LONGEST = 60


@dataclass(frozen=True)
class FacePrediction:
    """The class of one face; ``face`` is None where the whole photograph was classified, and ``why`` says why.

    ``why`` is that of `study.photos.faces.PhotoFaces`, or "unreadable".
    """

    prediction: Prediction
    face: DetectedFace | None
    why: str


def bundle_framing(preprocessing: Mapping[str, Any]) -> Framing | None:
    """Return how faces lay in the training pictures of a bundle; None where it does not say.

    Raises:
        DataError: it is damaged.
    """
    stored = preprocessing.get("framing")
    return None if stored is None else parse_framing(stored, "preprocessing.framing of the bundle")


def framing_for(preprocessing: Mapping[str, Any]) -> tuple[Framing, str]:
    """Return how to frame faces for a bundle, and what people should know of it where the bundle does not say.

    Raises:
        DataError: what it says is damaged.
    """
    framing = bundle_framing(preprocessing)
    if framing is not None:
        return framing, ""
    return Framing(), (
        "the bundle does not say how faces lay in its training pictures; they are levelled and centred as by "
        "`study data crop`"
    )


def predict_faces(
    classifier: Classifier,
    paths: Sequence[Path],
    size_px: int,
    framing: Framing,
    *,
    detect: Detect = "auto",
    resize: Resize = "crop",
    draw: Path | None = None,
    threads: int | None = None,
) -> Iterator[list[FacePrediction]]:
    """Yield the predictions of each photograph in order: of every face, the largest first, or of the whole.

    Args:
        classifier: used by all threads.
        paths: the photographs.
        size_px: side of the classifier's pictures.
        framing: how faces lay in its training pictures.
        detect: see `study.photos.faces.read_faces`.
        resize: how a photograph that is taken as it is becomes a square.
        draw: a folder for copies of the photographs with boxes, <number>-<name>.jpg.
        threads: None means one per available core.
    """

    def predict(numbered: tuple[int, Path], detector: FaceDetector) -> list[FacePrediction]:
        number, path = numbered
        try:
            photo_faces = read_faces(path, size_px, framing, detector, detect=detect, resize=resize)
        except DataError as error:
            return [FacePrediction(Prediction(None, reason=str(error)), None, "unreadable")]
        predictions = classify_faces(classifier, photo_faces.images)
        if draw is not None and photo_faces.photo is not None:
            _draw(draw / f"{number:04d}-{path.stem[:_LONGEST]}.jpg", classifier, photo_faces, predictions)
        faces: Sequence[DetectedFace | None] = photo_faces.faces or (None,)
        return [
            FacePrediction(prediction, face, photo_faces.why)
            for prediction, face in zip(predictions, faces, strict=True)
        ]

    yield from for_each_photo(list(enumerate(paths, 1)), predict, threads)


def classify_faces(classifier: Classifier, images: npt.NDArray[np.uint8]) -> list[Prediction]:
    """Return the predictions of any number of pictures, uint8 RGB [N, S, S, 3], a few at once."""
    batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
    return [prediction for batch in batches for prediction in classify(classifier, list(batch))]


def face_captions(classifier: Classifier, predictions: Sequence[Prediction]) -> tuple[list[str], list[Colour]]:
    """Return the class of each face with its probability, and the colour of the class."""
    captions, colours = [], []
    for prediction in predictions:
        assert prediction.label is not None
        share = prediction.probabilities[prediction.label]
        captions.append(f"{classifier.classes[prediction.label]} {share:.2f}")
        colours.append(COLOURS[prediction.label % len(COLOURS)])
    return captions, colours


def _draw(path: Path, classifier: Classifier, photo_faces: PhotoFaces, predictions: Sequence[Prediction]) -> None:
    """Write a photograph with a box, class and the class's probability for each face."""
    assert photo_faces.photo is not None
    captions, colours = face_captions(classifier, predictions)
    boxes = [face.box for face in photo_faces.faces]
    drawn = draw_boxes(photo_faces.photo, boxes, captions[: len(boxes)], colours[: len(boxes)])
    write_atomic(path, partial(Image.fromarray(drawn).save, format="JPEG", quality=92), sync=False)

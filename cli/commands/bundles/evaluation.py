"""What `study evaluate` measures: a bundle on labelled pictures, whole or by their faces, and beside a rival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from study.errors import DataError
from study.utils.text import first_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from study.bundles import OnnxClassifier
    from study.data.framing import Framing
    from study.inference.classifier import Prediction
    from study.inference.evaluation import Scored
    from study.inference.evaluation_page import Evaluation, Rival
    from study.inference.labelled_pictures import LabelledPictures
    from study.inference.picture_groups import PictureGroups

BY_FACES, BY_CENTRE = "faces found", "centre crop"
_SHOWN = 10
_WHOLE = {"no face": "no face was found", "small": "they are of the model's size or less"}


@dataclass(frozen=True)
class FaceSearch:
    """Faces are looked for in the pictures; the largest of each, cut as ``framing`` says, is classified."""

    framing: Framing
    detect: Literal["auto", "always"]


@dataclass(frozen=True)
class PicturePrediction:
    """Of one picture; ``why`` is that of `study.inference.face_predictions.FacePrediction`, ``faces`` counts them."""

    prediction: Prediction
    why: str = "not looked for"
    faces: int = 0


@dataclass(frozen=True)
class LabelledPredictions:
    """Of labelled pictures, and of those whose folders are no class."""

    labelled: list[PicturePrediction]
    others: dict[str, list[PicturePrediction]]


@dataclass(frozen=True)
class Measured:
    """An evaluation, with the names of unreadable pictures and their reasons, and the paths of the others."""

    evaluation: Evaluation
    unreadable: list[dict[str, str]]
    paths: list[Path]
    several: list[str]
    """Names of pictures that show more than one face."""


def predict_labelled(
    classifier: OnnxClassifier, labelled: LabelledPictures, what: str, search: FaceSearch | None = None
) -> LabelledPredictions:
    """Predict every picture, whole or by its largest face; ``what`` names the progress bar."""
    from cli.views.progress import with_progress
    from study.inference.face_predictions import predict_faces
    from study.inference.prediction_stream import predict_files

    paths = [file.path for files in (labelled.files, *labelled.others.values()) for file in files]
    if search is None:
        whole = with_progress(predict_files(classifier, paths), what, len(paths))
        predictions = [PicturePrediction(each) for each in whole]
    else:
        config = classifier.config
        found = predict_faces(
            classifier, paths, config.image_size_px, search.framing, detect=search.detect, resize=config.resize
        )
        predictions = [
            PicturePrediction(largest.prediction, largest.why, 0 if largest.face is None else 1 + len(rest))
            for largest, *rest in with_progress(found, what, len(paths))
        ]
    others, start = {}, len(labelled.files)
    for name, files in labelled.others.items():
        others[name] = predictions[start : start + len(files)]
        start += len(files)
    return LabelledPredictions(predictions[: len(labelled.files)], others)


def measure(
    bundle: str, folder: Path, classifier: OnnxClassifier, labelled: LabelledPictures,
    predictions: LabelledPredictions, groups: PictureGroups | None = None,
) -> Measured:  # fmt: skip
    """Return the metrics of a bundle's predictions; ``groups`` are of all labelled pictures.

    Raises:
        DataError: no picture can be read.
    """
    import numpy as np

    from study.inference.evaluation import estimates
    from study.inference.evaluation_page import Evaluation
    from study.inference.picture_groups import PictureGroups

    both = list(zip(labelled.files, predictions.labelled, strict=True))
    unreadable = [
        {"picture": file.name, "reason": each.prediction.reason} for file, each in both if each.prediction.label is None
    ]
    whole = [file for file, each in both if each.prediction.label is not None]
    if not whole:
        raise DataError(f"{folder} must hold pictures that can be read, but none of {len(both)} can: "
                        f"{unreadable[0]['picture']}: {unreadable[0]['reason']}")  # fmt: skip
    classes = classifier.classes
    scored = _scored(predictions.labelled, labelled.labels, classes, classes)
    grouped = None
    if groups is not None:
        ids = np.array([group for group, (_, each) in zip(groups.ids, both, strict=True)
                        if each.prediction.label is not None])  # fmt: skip
        scored, grouped = replace(scored, groups=ids), PictureGroups(ids, groups.rule)
    others = {
        name: np.array([each.prediction.label for each in of_folder if each.prediction.label is not None], np.int64)
        for name, of_folder in predictions.others.items()
    }
    taken_whole = {file.name: each.why for file, each in both if each.why in _WHOLE}
    several = [file.name for file, each in both if each.faces > 1]
    notes = (
        *_notes(labelled, scored, others, len(unreadable)), *_group_notes(grouped),
        *_face_notes(taken_whole, several, len(labelled.files)),
    )  # fmt: skip
    evaluation = Evaluation(
        bundle, folder.resolve().name, scored, [file.name for file in whole], classifier.threshold,
        estimates(scored), notes, others, whole=taken_whole, groups=None if grouped is None else grouped.count,
    )  # fmt: skip
    return Measured(evaluation, unreadable, [file.path for file in whole], several)


def against_bundle(
    measured: Measured, name: str, other: OnnxClassifier, mine: LabelledPredictions, theirs: LabelledPredictions
) -> Evaluation:
    """Return the evaluation beside that of another bundle."""
    return replace(measured.evaluation, rival=_rival(name, other, measured.evaluation.scored, mine, theirs))


def against_centre(
    measured: Measured, classifier: OnnxClassifier, by_faces: LabelledPredictions, by_centre: LabelledPredictions
) -> Evaluation:
    """Return the evaluation by faces beside that of the same bundle by the centres of the pictures."""
    rival = _rival(BY_CENTRE, classifier, measured.evaluation.scored, by_faces, by_centre)
    rival = replace(rival, load=loader(classifier, measured.paths))
    return replace(measured.evaluation, rival=rival, way=BY_FACES)


def loader(
    classifier: OnnxClassifier, paths: Sequence[Path], search: FaceSearch | None = None
) -> Callable[[int], NDArray[np.uint8]]:
    """Return what decodes the picture of an index as the model was shown it."""
    if search is None:
        return lambda at: classifier.preprocess(paths[at])
    from study.photos.detector import FaceDetector
    from study.photos.faces import read_faces

    detector, config = FaceDetector(), classifier.config

    def load(at: int) -> NDArray[np.uint8]:
        faces = read_faces(
            paths[at], config.image_size_px, search.framing, detector, detect=search.detect, resize=config.resize
        )
        largest: NDArray[np.uint8] = faces.images[0]
        return largest

    return load


def _scored(
    predictions: Sequence[PicturePrediction],
    labels: Sequence[int],
    own: tuple[str, ...],
    classes: tuple[str, ...],
) -> Scored:
    """Return the predictions that there are; ``own`` is the order of the classes in them, ``classes`` the wanted."""
    import numpy as np

    from study.inference.evaluation import Scored, reorder

    both = zip(predictions, labels, strict=True)
    readable = [(each.prediction, label) for each, label in both if each.prediction.label is not None]
    predicted = [classes.index(own[each.label]) for each, _ in readable if each.label is not None]
    probabilities = np.array([each.probabilities for each, _ in readable])
    return Scored(
        reorder(probabilities, own, classes), np.array(predicted, np.int64),
        np.array([label for _, label in readable], np.int64), classes,
    )  # fmt: skip


def _rival(
    name: str, classifier: OnnxClassifier, scored: Scored, mine: LabelledPredictions, theirs: LabelledPredictions
) -> Rival:
    from study.inference.evaluation import compare, estimates
    from study.inference.evaluation_page import Rival

    both = zip(theirs.labelled, mine.labelled, strict=True)
    readable = [each for each, own in both if own.prediction.label is not None]
    if any(each.prediction.label is None for each in readable):
        raise DataError(f"the same pictures must be read for a comparison, but {name} cannot read all of them")
    other = _scored(readable, scored.labels.tolist(), classifier.classes, scored.classes)
    other = replace(other, groups=scored.groups)
    return Rival(name, other, compare(scored, other), estimates(other))


def _notes(
    labelled: LabelledPictures, scored: Scored, others: dict[str, NDArray[np.int64]], unreadable: int
) -> tuple[str, ...]:
    notes = list(labelled.notes)
    if scored.missing:
        named = ", ".join(map(printable, scored.missing))
        notes.append(f"no picture of {named}, so there is no AUC, no precision and no mean over classes")
    for folder, predicted in others.items():
        notes.append(f"{printable(folder)} is no class of the bundle: {len(predicted)} pictures in it are not counted; "
                     f"--classes {printable(folder)}=CLASS counts them")  # fmt: skip
    if unreadable:
        notes.append(f"not counted, as they cannot be read: {unreadable} of {len(labelled.files)} pictures")
    return tuple(notes)


def _group_notes(groups: PictureGroups | None) -> list[str]:
    if groups is None:
        return []
    pictures = len(groups.ids)
    return [f"intervals count {groups.count} groups, not {pictures} pictures: {groups.rule} belong together"]


def _face_notes(taken_whole: dict[str, str], several: Sequence[str], pictures: int) -> list[str]:
    counts = Counter(taken_whole.values())
    notes = []
    for why, words in _WHOLE.items():
        if counts[why]:
            names = [name for name, reason in taken_whole.items() if reason == why]
            notes.append(f"taken whole, as {words}: {counts[why]} of {pictures} pictures: {_listed(names)}")
    if several:
        notes.append(f"more than one face, of which the largest counts: {len(several)} of {pictures} pictures: "
                     f"{_listed(several)}")  # fmt: skip
    return notes


def _listed(names: Sequence[str]) -> str:
    return first_of([printable(name) for name in names], _SHOWN)

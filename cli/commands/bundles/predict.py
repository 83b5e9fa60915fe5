"""The command predict: the class of each of many pictures."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options import BundleFolder, Json, folder_option
from cli.output import print_json_stream, spreadsheet_text
from study.errors import DataError, UsageError
from study.utils.text import printable

if TYPE_CHECKING:
    from study.bundles import OnnxClassifier
    from study.inference.classifier import Classifier, Prediction
    from study.inference.face_predictions import FacePrediction

_COLUMNS = ("picture", "class", "probability", "threshold", "reason")
_FACE_COLUMNS = ("picture", "face", "how", "left", "top", "right", "bottom", "score", *_COLUMNS[1:])


def predict(
    bundle: BundleFolder,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", metavar="IMAGE_OR_FOLDER...")],
    detect: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            "--detect", help="Find faces and classify each; auto takes pictures of the model's size as they are."
        ),
    ] = "never",
    draw: Annotated[
        Path | None, folder_option("--draw", help="A new or empty folder for copies with boxes; with --detect.")
    ] = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print the class of each picture, or of each face in it; one that cannot be read has a reason instead."""
    from study.bundles import OnnxClassifier

    if json and csv:
        raise UsageError("--json and --csv exclude each other; choose one")
    if draw is not None and detect == "never":
        raise UsageError("--draw needs faces to draw boxes around; add --detect auto")
    if draw is not None and draw.exists() and (not draw.is_dir() or any(draw.iterdir())):
        raise UsageError(f"--draw must be a new or empty folder, but {draw} is not; name another one")
    classifier = OnnxClassifier.open(bundle, threads=1)
    paths = _paths(pictures)
    rows = _rows(classifier, paths) if detect == "never" else _face_rows(classifier, paths, detect, draw)
    counts = Counter[str]()
    if json:
        head = {"bundle": str(bundle), "classes": classifier.classes, "threshold": classifier.threshold}
        print_json_stream(head, "pictures", _counted(rows, counts))
    elif csv:
        _print_csv(_counted(rows, counts), _COLUMNS if detect == "never" else _FACE_COLUMNS)
    else:
        _print_lines(classifier, _counted(rows, counts))
    if unreadable := counts["unreadable"]:
        typer.echo(f"{unreadable} of {counts.total()} pictures cannot be read", err=True)
    if unreadable == counts.total():
        raise DataError("at least one picture must be readable, but none is")


def _paths(given: list[Path]) -> list[Path]:
    """Return files as they are named, and the pictures below folders."""
    from study.data.image_files import find_images, unread
    from study.files import expand_home

    ignored: Counter[str] = Counter()
    paths: list[Path] = []
    for place in map(expand_home, given):
        paths += [file.path for file in find_images(place, place, ignored)] if place.is_dir() else [place]
    if ignored:
        typer.echo(f"files not read: {unread(ignored)}", err=True)
    if not paths:
        raise DataError(f"there must be a picture, but {', '.join(map(str, given))} has none")
    return paths


def _rows(classifier: Classifier, paths: list[Path]) -> Iterator[dict[str, Any]]:
    from cli.views.progress import with_progress
    from study.inference.prediction_stream import predict_files

    predictions = with_progress(predict_files(classifier, paths), "predict", len(paths))
    for path, prediction in zip(paths, predictions, strict=True):
        yield _row(classifier, path, prediction)


def _row(classifier: Classifier, path: Path, prediction: Prediction) -> dict[str, Any]:
    from study.data.image_files import text_of
    from study.inference.classifier import as_json

    name = {"picture": text_of(str(path))}
    return name | ({"reason": prediction.reason} if prediction.label is None else as_json(prediction, classifier))


def _face_rows(
    classifier: OnnxClassifier, paths: list[Path], detect: Literal["auto", "always"], draw: Path | None
) -> Iterator[dict[str, Any]]:
    from cli.views.progress import with_progress
    from study.inference.face_predictions import framing_for, predict_faces

    framing, note = framing_for(classifier.preprocessing)
    if note:
        typer.echo(note, err=True)
    config = classifier.config
    predictions = predict_faces(
        classifier, paths, config.image_size_px, framing, detect=detect, resize=config.resize, draw=draw
    )
    for path, faces in zip(paths, with_progress(predictions, "predict", len(paths)), strict=True):
        for number, each in enumerate(faces, 1):
            yield _face_row(classifier, path, number, each)


def _face_row(classifier: Classifier, path: Path, number: int, each: FacePrediction) -> dict[str, Any]:
    row = _row(classifier, path, each.prediction)
    row["how"] = each.why
    if each.face is not None:
        box = {name: round(value, 2) for name, value in each.face.box._asdict().items()}
        row |= {"face": number, **box, "score": round(each.face.score, 4)}
    return row


def _counted(rows: Iterator[dict[str, Any]], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row.get("face", 1) == 1:
            counts["unreadable" if "reason" in row else "readable"] += 1
        yield row


def _print_csv(rows: Iterator[dict[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        cells = {name: spreadsheet_text(value) if isinstance(value, str) else value for name, value in row.items()}
        writer.writerow(cells | {"picture": spreadsheet_text(row["picture"], "./")})  # still the path
        sys.stdout.flush()


def _print_lines(classifier: Classifier, rows: Iterator[dict[str, Any]]) -> None:
    classes = [printable(name) for name in classifier.classes]
    width = min(40, max(map(len, ("cannot be read", *classes))))
    if classifier.threshold is not None:
        typer.echo(f"probability of {classes[1]}; above {classifier.threshold:.4g} it is the class")
    for row in rows:
        picture = printable(row["picture"])  # a name may hold line breaks and what moves a cursor
        if "reason" in row:
            typer.echo(f"{'-':>6}  {'cannot be read':{width}}  {picture}: {printable(row['reason'])}")
        else:
            how = f": {row['how']}, taken whole" if row.get("how", "faces") != "faces" else ""
            face = f" face {row['face']}" if "face" in row else how
            typer.echo(f"{row['probability']:.4f}  {printable(row['class']):{width}}  {picture}{face}")

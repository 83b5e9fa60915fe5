"""The command predict: the class of each of many pictures."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import BundleFolder, Json
from cli.output import print_json_stream
from study.errors import DataError, UsageError
from study.utils.text import printable

if TYPE_CHECKING:
    from study.inference.classifier import Classifier, Prediction

_COLUMNS = ("picture", "class", "probability", "threshold", "reason")


def predict(
    bundle: BundleFolder,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", metavar="IMAGE_OR_FOLDER...")],
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print the class of each picture; one that cannot be read has a reason instead."""
    from study.bundles import OnnxClassifier

    if json and csv:
        raise UsageError("--json and --csv exclude each other; choose one")
    classifier = OnnxClassifier.open(bundle)
    paths = _paths(pictures)
    rows, counts = _rows(classifier, paths), Counter[str]()
    if json:
        head = {"bundle": str(bundle), "classes": classifier.classes, "threshold": classifier.threshold}
        print_json_stream(head, "pictures", _counted(rows, counts))
    elif csv:
        _print_csv(_counted(rows, counts))
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


def _counted(rows: Iterator[dict[str, Any]], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        counts["unreadable" if "reason" in row else "readable"] += 1
        yield row


def _print_csv(rows: Iterator[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, _COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)


def _print_lines(classifier: Classifier, rows: Iterator[dict[str, Any]]) -> None:
    classes = [printable(name) for name in classifier.classes]
    width = min(40, max(map(len, ("cannot be read", *classes))))
    if classifier.threshold is not None:
        typer.echo(f"probability of {classes[1]}; above {classifier.threshold:.4g} it is the class")
    for row in rows:
        if "reason" in row:
            typer.echo(f"{'-':>6}  {'cannot be read':{width}}  {row['picture']}: {row['reason']}")
        else:
            typer.echo(f"{row['probability']:.4f}  {printable(row['class']):{width}}  {row['picture']}")

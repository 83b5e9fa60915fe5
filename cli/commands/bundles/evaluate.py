"""The command evaluate: metrics of a bundle on labelled pictures, alone or against another bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import BundleFolder, ClassNames, Json, folder_argument, folder_option, read_class_names
from cli.output import number, print_json, short_path
from study.errors import DataError, UsageError
from study.utils.text import printable

if TYPE_CHECKING:
    import numpy as np

    from study.bundles import OnnxClassifier
    from study.inference.classifier import Prediction
    from study.inference.evaluation import Estimate, Scored
    from study.inference.evaluation_page import Evaluation, Rival
    from study.inference.labelled_pictures import LabelledPictures

_SHOWN = 10


def evaluate(
    bundle: BundleFolder,
    folder: Annotated[Path, folder_argument(help="Pictures in folders named after their classes.")],
    against: Annotated[
        Path | None, folder_option("--against", help="Another bundle of the same classes.", metavar="BUNDLE2")
    ] = None,
    classes: ClassNames = None,
    out: Annotated[Path, folder_option("--out", help="Where the page goes.", metavar="FILE")] = Path("evaluation.html"),
    json: Json = False,
) -> None:
    """Measure a bundle on pictures in folders named after classes, with 95 % intervals and a page of figures."""
    from study.bundles import OnnxClassifier
    from study.files import write_text_atomic
    from study.inference.evaluation_page import evaluation_page
    from study.inference.labelled_pictures import find_labelled

    classifier = OnnxClassifier.open(bundle)
    other = None if against is None else OnnxClassifier.open(against)
    if other is not None and set(other.classes) != set(classifier.classes):
        raise UsageError(
            f"--against must be a bundle of the same classes, but {bundle} has {', '.join(classifier.classes)} and "
            f"{against} has {', '.join(other.classes)}"
        )
    labelled = find_labelled(folder, classifier.classes, read_class_names(classes))
    mine = _predict(classifier, labelled, "predict")
    theirs = None if other is None else _predict(other, labelled, "predict again")
    name, rival_name = _names(bundle, against)
    evaluation, unreadable, paths = _evaluate(name, folder, classifier, labelled, mine)
    if other is not None and theirs is not None:
        evaluation = replace(evaluation, rival=_rival(rival_name, other, theirs, evaluation.scored, mine))
    write_text_atomic(out, evaluation_page(evaluation, lambda at: classifier.preprocess(paths[at])))
    if json:
        print_json(_as_json(evaluation, unreadable, out))
    else:
        _print(evaluation, unreadable, out)


@dataclass(frozen=True)
class _Predictions:
    """Of labelled pictures, and of those whose folders are no class."""

    labelled: list[Prediction]
    others: dict[str, list[Prediction]]


def _predict(classifier: OnnxClassifier, labelled: LabelledPictures, what: str) -> _Predictions:
    from cli.views.progress import with_progress
    from study.inference.prediction_stream import predict_files

    paths = [file.path for files in (labelled.files, *labelled.others.values()) for file in files]
    predictions = list(with_progress(predict_files(classifier, paths), what, len(paths)))
    others, start = {}, len(labelled.files)
    for name, files in labelled.others.items():
        others[name] = predictions[start : start + len(files)]
        start += len(files)
    return _Predictions(predictions[: len(labelled.files)], others)


def _scored(
    predictions: list[Prediction], labels: tuple[int, ...], own: tuple[str, ...], classes: tuple[str, ...]
) -> Scored:
    """Return the predictions that there are; ``own`` is the order of the classes in them, ``classes`` the wanted."""
    import numpy as np

    from study.inference.evaluation import Scored, reorder

    whole = [(each, label) for each, label in zip(predictions, labels, strict=True) if each.label is not None]
    predicted = [classes.index(own[each.label]) for each, _ in whole if each.label is not None]
    probabilities = np.array([each.probabilities for each, _ in whole])
    return Scored(
        reorder(probabilities, own, classes), np.array(predicted, np.int64),
        np.array([label for _, label in whole], np.int64), classes,
    )  # fmt: skip


def _names(first: Path, second: Path | None) -> tuple[str, str]:
    """Return what tells two bundles apart."""
    first, second = first.resolve(), (second or first.parent).resolve()
    return (first.name, second.name) if first.name != second.name else (str(first), str(second))


def _evaluate(
    bundle: str, folder: Path, classifier: OnnxClassifier, labelled: LabelledPictures, predictions: _Predictions
) -> tuple[Evaluation, list[dict[str, str]], list[Path]]:
    """Return what the page shows, the unreadable pictures, and the paths of the others."""
    import numpy as np

    from study.inference.evaluation import estimates
    from study.inference.evaluation_page import Evaluation

    both = list(zip(labelled.files, predictions.labelled, strict=True))
    unreadable = [{"picture": file.name, "reason": each.reason} for file, each in both if each.label is None]
    whole = [file for file, each in both if each.label is not None]
    if not whole:
        raise DataError(f"{folder} must hold pictures that can be read, but none of {len(both)} can: "
                        f"{unreadable[0]['picture']}: {unreadable[0]['reason']}")  # fmt: skip
    classes = classifier.classes
    scored = _scored(predictions.labelled, labelled.labels, classes, classes)
    others = {
        name: np.array([each.label for each in of_folder if each.label is not None], np.int64)
        for name, of_folder in predictions.others.items()
    }
    evaluation = Evaluation(
        bundle, folder.resolve().name, scored, [file.name for file in whole], classifier.threshold,
        estimates(scored), _notes(labelled, scored, others, len(unreadable)), others,
    )  # fmt: skip
    return evaluation, unreadable, [file.path for file in whole]


def _notes(
    labelled: LabelledPictures, scored: Scored, others: dict[str, np.ndarray], unreadable: int
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


def _rival(
    name: str, classifier: OnnxClassifier, predictions: _Predictions, scored: Scored, mine: _Predictions
) -> Rival:
    from study.inference.evaluation import compare
    from study.inference.evaluation_page import Rival

    whole = [each for each, own in zip(predictions.labelled, mine.labelled, strict=True) if own.label is not None]
    if any(each.label is None for each in whole):
        raise DataError(f"both bundles must read the same pictures, but {name} cannot read all of them")
    theirs = _scored(whole, tuple(scored.labels.tolist()), classifier.classes, scored.classes)
    return Rival(name, theirs, compare(scored, theirs))


def _as_json(evaluation: Evaluation, unreadable: list[dict[str, str]], out: Path) -> dict[str, Any]:
    import numpy as np

    from study.inference.evaluation import verdict

    scored = evaluation.scored
    result: dict[str, Any] = {
        "bundle": evaluation.bundle, "folder": evaluation.folder, "pictures": len(scored.labels),
        "classes": scored.classes, "threshold": evaluation.threshold,
        "metrics": {each.name: _estimate(each) for each in evaluation.metrics},
        "confusion": scored.confusion.tolist(),
        "other_folders": {
            name: dict(zip(scored.classes, np.bincount(each, minlength=len(scored.classes)).tolist(), strict=True))
            for name, each in evaluation.others.items()
        },
        "unreadable": unreadable, "notes": evaluation.notes, "page": str(out),
    }  # fmt: skip
    if (rival := evaluation.rival) is not None:
        rows = [asdict(row) for row in rival.rows]
        words = verdict(rival.rows, evaluation.bundle, rival.name)
        result["against"] = {
            "bundle": rival.name,
            "words": words,
            "differences": {row.pop("name"): row for row in rows},
        }
    return result


def _estimate(each: Estimate) -> dict[str, Any]:
    return {key: value for key, value in asdict(each).items() if key != "name" and value is not None}


def _print(evaluation: Evaluation, unreadable: list[dict[str, str]], out: Path) -> None:
    from cli.views.tables import make_table, print_table
    from study.inference.evaluation import verdict

    accuracy = evaluation.metrics[0]
    typer.echo(
        f"{evaluation.bundle} on {evaluation.folder}: {accuracy.hits} of {accuracy.images} right, "
        f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
    )
    print_table(make_table(
        ["metric", "value", "95 %", "pictures"],
        [[printable(each.name), number(each.value), _ends(each.low, each.high),
          "" if each.hits is None else f"{each.hits} of {each.images}"] for each in evaluation.metrics],
        right=["value", "pictures"],
    ))  # fmt: skip
    if (rival := evaluation.rival) is not None:
        columns = ["metric", evaluation.bundle, rival.name, "difference", "95 % of that", "p", "right alone"]
        typer.echo(f"better?  {verdict(rival.rows, evaluation.bundle, rival.name)}")
        print_table(make_table(
            columns,
            [[printable(row.name), number(row.first), number(row.second), f"{row.difference.value:+.4f}",
              _ends(row.difference.low, row.difference.high), number(row.difference.p),
              "" if row.only_first is None else f"{row.only_first} : {row.only_second}"] for row in rival.rows],
            right=[*columns[1:4], "p", "right alone"],
        ))  # fmt: skip
    for note in evaluation.notes:
        typer.echo(f"note: {note}")
    for each in unreadable[:_SHOWN]:
        typer.echo(f"  {each['picture']}: {each['reason']}")
    if len(unreadable) > _SHOWN:
        typer.echo(f"  and {len(unreadable) - _SHOWN} more")
    typer.echo(f"look at {short_path(str(out))}")


def _ends(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if low == low and high == high else "-"

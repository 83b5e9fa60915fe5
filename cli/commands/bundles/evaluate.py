"""The command evaluate: metrics of a bundle on labelled pictures, alone or beside another bundle or the centre crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options import BundleFolder, ClassNames, Json, folder_argument, folder_option, read_class_names
from cli.output import number, print_json, require_output, short_path, write_output
from study.errors import UsageError
from study.utils.text import printable

if TYPE_CHECKING:
    from cli.commands.bundles.evaluation import FaceSearch, Measured
    from study.bundles import OnnxClassifier
    from study.inference.evaluation import Estimate
    from study.inference.evaluation_page import Evaluation, Rival

_SHOWN = 10


def evaluate(
    bundle: BundleFolder,
    folder: Annotated[Path, folder_argument(help="Pictures in folders named after their classes.")],
    against: Annotated[
        Path | None, folder_option("--against", help="Another bundle of the same classes.", metavar="BUNDLE2")
    ] = None,
    classes: ClassNames = None,
    detect: Annotated[
        Literal["auto", "always", "never"] | None,
        typer.Option(
            "--detect",
            help="Find faces and measure by the largest; auto takes pictures of the model's size as they are. "
            "Default: never; with --compare-crop auto.",
            show_default=False,
        ),
    ] = None,
    compare_crop: Annotated[
        bool, typer.Option("--compare-crop", help="Compare faces found and framed with the pictures' centres.")
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by",
            metavar="REGEX",
            show_default=False,
            help="What the names of pictures that belong together have in common, such as '^[^/]*/([a-z]+)': intervals "
            "count groups. Default: the photographs in faces.csv.",
        ),
    ] = None,
    out: Annotated[Path, folder_option("--out", help="Where the page goes.", metavar="FILE")] = Path("evaluation.html"),
    json: Json = False,
) -> None:
    """Measure a bundle on pictures in folders named after classes, with 95 % intervals and a page of figures."""
    from cli.commands.bundles.evaluation import against_bundle, against_centre, loader, measure, predict_labelled
    from study.bundles import OnnxClassifier
    from study.inference.evaluation_page import evaluation_page
    from study.inference.labelled_pictures import find_labelled
    from study.inference.picture_groups import find_groups

    if compare_crop and detect == "never":
        raise UsageError("--compare-crop needs faces to compare with; name --detect auto or always, or leave it out")
    if compare_crop and against is not None:
        raise UsageError("--compare-crop and --against exclude each other; choose one")
    require_output(out)
    classifier = OnnxClassifier.open(bundle, threads=1)
    other = None if against is None else OnnxClassifier.open(against, threads=1)
    if other is not None and set(other.classes) != set(classifier.classes):
        raise UsageError(
            f"--against must be a bundle of the same classes, but {bundle} has {', '.join(classifier.classes)} and "
            f"{against} has {', '.join(other.classes)}"
        )
    labelled = find_labelled(folder, classifier.classes, read_class_names(classes))
    groups = find_groups(folder, labelled.files, group_by)
    wanted = detect or ("auto" if compare_crop else "never")
    search = _face_search(classifier, wanted)
    mine = predict_labelled(classifier, labelled, "predict", search)
    name, rival_name = _names(bundle, against)
    measured = measure(name, folder, classifier, labelled, mine, groups)
    evaluation = measured.evaluation
    if compare_crop:
        evaluation = against_centre(measured, classifier, mine, predict_labelled(classifier, labelled, "centres"))
    elif other is not None:
        theirs = predict_labelled(other, labelled, "predict again", _face_search(other, wanted))
        evaluation = against_bundle(measured, rival_name, other, mine, theirs)
    write_output(out, evaluation_page(evaluation, loader(classifier, measured.paths, search)))
    if json:
        print_json(_as_json(evaluation, measured, wanted, out))
    else:
        _print(evaluation, measured, out)


def _face_search(classifier: OnnxClassifier, detect: Literal["auto", "always", "never"]) -> FaceSearch | None:
    from cli.commands.bundles.evaluation import FaceSearch
    from study.inference.face_predictions import framing_for

    if detect == "never":
        return None
    framing, note = framing_for(classifier.preprocessing)
    if note:
        typer.echo(note, err=True)
    return FaceSearch(framing, detect)


def _names(first: Path, second: Path | None) -> tuple[str, str]:
    """Return what tells two bundles apart."""
    first, second = first.resolve(), (second or first.parent).resolve()
    return (first.name, second.name) if first.name != second.name else (str(first), str(second))


def _as_json(evaluation: Evaluation, measured: Measured, detect: str, out: Path) -> dict[str, Any]:
    import numpy as np

    scored = evaluation.scored
    result: dict[str, Any] = {
        "bundle": evaluation.bundle, "folder": evaluation.folder, "pictures": len(scored.labels),
        "classes": scored.classes, "threshold": evaluation.threshold,
        "metrics": _metrics(evaluation.metrics),
        "confusion": scored.confusion.tolist(),
        "other_folders": {
            name: dict(zip(scored.classes, np.bincount(each, minlength=len(scored.classes)).tolist(), strict=True))
            for name, each in evaluation.others.items()
        },
        "groups": evaluation.groups, "unreadable": measured.unreadable, "notes": evaluation.notes, "page": str(out),
    }  # fmt: skip
    if detect != "never":
        result |= {"detect": detect, "several_faces": measured.several} | {
            key: [name for name, why in evaluation.whole.items() if why == reason]
            for key, reason in (("without_face", "no face"), ("small", "small"))
        }
    if (rival := evaluation.rival) is not None:
        compared = _compared(evaluation, rival)
        result |= {"centre_crop": compared} if evaluation.way else {"against": {"bundle": rival.name} | compared}
    return result


def _compared(evaluation: Evaluation, rival: Rival) -> dict[str, Any]:
    from study.inference.evaluation import verdict

    rows = [asdict(row) for row in rival.rows]
    return {
        "words": verdict(rival.rows, evaluation.first, rival.name),
        "differences": {row.pop("name"): row for row in rows},
        "metrics": _metrics(rival.metrics),
    }


def _metrics(metrics: Sequence[Estimate]) -> dict[str, dict[str, Any]]:
    return {each.name: _estimate(each) for each in metrics}


def _estimate(each: Estimate) -> dict[str, Any]:
    return {key: value for key, value in asdict(each).items() if key != "name" and value is not None}


def _print(evaluation: Evaluation, measured: Measured, out: Path) -> None:
    from cli.views.tables import make_table, print_table
    from study.inference.evaluation import verdict

    way = f", {evaluation.way}" if evaluation.way else ""
    _print_metrics(f"{evaluation.bundle} on {evaluation.folder}{way}", evaluation.metrics)
    if (rival := evaluation.rival) is not None:
        name = f"{evaluation.bundle} on {evaluation.folder}, {rival.name}" if way else f"{rival.name} on the same"
        _print_metrics(name, rival.metrics)
        columns = ["metric", evaluation.first, rival.name, "difference", "95 % of that", "p", "right alone"]
        typer.echo(f"better?  {verdict(rival.rows, evaluation.first, rival.name)}")
        print_table(make_table(
            columns,
            [[printable(row.name), number(row.first), number(row.second), f"{row.difference.value:+.4f}",
              _ends(row.difference.low, row.difference.high), number(row.difference.p),
              "" if row.only_first is None else f"{row.only_first} : {row.only_second}"] for row in rival.rows],
            right=[*columns[1:4], "p", "right alone"],
        ))  # fmt: skip
    for note in evaluation.notes:
        typer.echo(f"note: {note}")
    unreadable = measured.unreadable
    for each in unreadable[:_SHOWN]:
        typer.echo(f"  {each['picture']}: {each['reason']}")
    if len(unreadable) > _SHOWN:
        typer.echo(f"  and {len(unreadable) - _SHOWN} more")
    typer.echo(f"look at {short_path(str(out))}")


def _print_metrics(title: str, metrics: Sequence[Estimate]) -> None:
    from cli.views.tables import make_table, print_table

    accuracy = metrics[0]
    typer.echo(
        f"{title}: {accuracy.hits} of {accuracy.images} right, "
        f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
    )
    print_table(make_table(
        ["metric", "value", "95 %", "pictures"],
        [[printable(each.name), number(each.value), _ends(each.low, each.high),
          "" if each.hits is None else f"{each.hits} of {each.images}"] for each in metrics],
        right=["value", "pictures"],
    ))  # fmt: skip


def _ends(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if low == low and high == high else "-"

"""The command export-best: a bundle of the best checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, Results, StorageOf, folder_option
from cli.output import print_json

if TYPE_CHECKING:
    from cli.queries.study_handle import StudyInFolder
    from study.data.dataset import DataBundle


def export_best(
    name: Name = None,
    metric: Metric = None,
    out: Annotated[Path, folder_option("--out", help="A new or empty folder for the bundle.")] = Path("bundle"),
    data: Annotated[
        Path | None,
        folder_option("--data", help="Where the study's pictures are now, if elsewhere."),
    ] = None,
    look_again: LookAgain = False,
    storage: StorageOf = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Write the best checkpoint as a folder somebody can deploy, after loading it again and checking its scores.

    Where the pictures are gone, only the stored scores are checked.
    """
    from cli.queries.final_look import final_scores, weights_folder
    from cli.queries.ranking import require_best
    from cli.queries.study_handle import open_study
    from study.export import FinalScores, Provenance, export_checkpoint, require_empty_folder
    from study.metric_catalog import SHIFTED_METRIC_PREFIX

    require_empty_folder(out)
    ranking, winner = require_best(results, None, name, metric)
    study = open_study(results, ranking.study)
    record = winner.record
    checkpoint = weights_folder(study, record, storage)
    pictures, gone = _pictures(study, data)
    test = FinalScores(f"not scored: {gone}")
    if pictures is not None:
        test = final_scores(results, study, ranking, winner, pictures.test, again=look_again, storage=storage)
    origin = Provenance(
        study=ranking.study, study_id=study.view.study_id, trial=record.trial, run_id=record.run_id,
        ranked_by=ranking.metric, candidates=sum(row.rank is not None for row in ranking.rows),
    )  # fmt: skip
    shifted = {name: value for name, value in record.metrics.items() if name.startswith(SHIFTED_METRIC_PREFIX)}
    bundle = export_checkpoint(
        checkpoint, out, None if pictures is None else pictures.val.images, origin, test, shifted
    )
    if json:
        print_json({"out": str(out), "study": ranking.study, "trial": record.trial, "run_id": record.run_id,
                    "metric": ranking.metric, "value": winner.value,
                    "max_score_difference": bundle.max_score_difference,
                    "test": asdict(test), "files": [str(file) for file in bundle.files]})  # fmt: skip
        return
    typer.echo(f"wrote {out}: trial {record.trial} of {ranking.study}, {ranking.metric} {winner.value:.5f}")
    if pictures is None:
        typer.echo(f"parity was checked on stored scores only: {gone}; --data DIR names where the pictures are now")
    else:
        count, difference = len(pictures.val), bundle.max_score_difference
        typer.echo(f"loaded again and scored {count} validation images: largest difference {difference:.2g}")
    shown = "  ".join(f"{key} {test.metrics[key]:.4f}" for key in ("auc", "accuracy", "f1") if key in test.metrics)
    typer.echo(f"test images: {shown + '; ' if shown else ''}{test.note}")
    for file in bundle.files:
        typer.echo(f"  {file}")


def _pictures(study: StudyInFolder, folder: Path | None) -> tuple[DataBundle | None, str]:
    """Return the pictures of a study; where they are gone from its own folder, None and the reason.

    Raises:
        DataError: the named folder cannot be used.
        StudyStorageError: these are not the pictures the study began on.
    """
    from study.data import load_data
    from study.errors import DataError
    from study.storage.data_changes import require_same_data

    spec = study.view.spec.data
    if folder is not None:
        spec = spec.model_copy(update={"path": str(folder.absolute())})
    try:
        pictures = load_data(spec)
    except DataError as error:
        if folder is not None:
            raise
        return None, f"the pictures cannot be read ({error})"
    require_same_data(study.view, study.layout, pictures)
    return pictures, ""

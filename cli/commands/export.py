"""The command export-best: a bundle of the best checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, Results
from cli.output import print_json


def export_best(
    name: Name = None,
    metric: Metric = None,
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder for the bundle.", metavar="DIR")] = Path(
        "bundle"
    ),
    look_again: LookAgain = False,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Write the best checkpoint as a folder somebody can deploy, after loading it again and checking its scores."""
    from cli.final_look import final_scores, weights_folder
    from cli.ranking import require_best
    from cli.study_handle import open_study
    from study.data import load_data
    from study.export import Provenance, export_checkpoint, require_empty_folder
    from study.metric_catalog import SHIFTED_METRIC_PREFIX

    require_empty_folder(out)
    ranking, winner = require_best(results, None, name, metric)
    study = open_study(results, ranking.study)
    record = winner.record
    checkpoint = weights_folder(record)
    data = load_data(study.view.spec.data)
    study.view.require_data(data.summary.fingerprint)
    test = final_scores(results, study, ranking, winner, data.test.images, data.test.labels, again=look_again)
    origin = Provenance(
        study=ranking.study, study_id=study.view.study_id, trial=record.trial, run_id=record.run_id,
        ranked_by=ranking.metric, candidates=sum(row.rank is not None for row in ranking.rows),
    )  # fmt: skip
    shifted = {name: value for name, value in record.metrics.items() if name.startswith(SHIFTED_METRIC_PREFIX)}
    bundle = export_checkpoint(checkpoint, out, data.val.images, origin, test, shifted)
    if json:
        print_json({"out": str(out), "study": ranking.study, "trial": record.trial, "run_id": record.run_id,
                    "metric": ranking.metric, "value": winner.value,
                    "max_score_difference": bundle.max_score_difference,
                    "test": asdict(test), "files": [str(file) for file in bundle.files]})  # fmt: skip
        return
    typer.echo(f"wrote {out}: trial {record.trial} of {ranking.study}, {ranking.metric} {winner.value:.5f}")
    typer.echo(
        f"loaded again and scored {len(data.val)} validation images: "
        f"largest difference {bundle.max_score_difference:.2g}"
    )
    shown = "  ".join(f"{key} {test.metrics[key]:.4f}" for key in ("auc", "accuracy", "f1") if key in test.metrics)
    typer.echo(f"test images: {shown + '; ' if shown else ''}{test.note}")
    for file in bundle.files:
        typer.echo(f"  {file}")

"""Commands that hand something over: export-best, sync."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, Results, TrackingUri, print_json


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("export-best")(export_best)
    app.command("sync")(sync)


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
    from cli.commands.best import final_scores, weights_folder
    from cli.ranking import require_best
    from cli.studies import open_study
    from study.data import load_data
    from study.export import Provenance, export_checkpoint, refuse_occupied
    from study.metrics import SHIFTED_PREFIX

    refuse_occupied(out)
    found, winner = require_best(results, None, name, metric)
    study = open_study(results, found.study)
    record = winner.record
    checkpoint = weights_folder(record)
    data = load_data(study.storage.spec.data)
    study.storage.require_data(data.summary.fingerprint)
    test = final_scores(results, study, found, winner, data.test.images, data.test.labels, again=look_again)
    origin = Provenance(
        study=found.study, study_id=study.storage.study_id, trial=record.trial, run_id=record.run_id,
        ranked_by=found.metric, candidates=sum(row.rank is not None for row in found.rows),
    )  # fmt: skip
    shifted = {name: value for name, value in record.metrics.items() if name.startswith(SHIFTED_PREFIX)}
    bundle = export_checkpoint(checkpoint, out, data.val.images, origin, test, shifted)
    if json:
        print_json({"out": str(out), "study": found.study, "trial": record.trial, "run_id": record.run_id,
                    "metric": found.metric, "value": winner.value, "max_score_difference": bundle.max_score_difference,
                    "test": asdict(test), "files": [str(one) for one in bundle.files]})  # fmt: skip
        return
    typer.echo(f"wrote {out}: trial {record.trial} of {found.study}, {found.metric} {winner.value:.5f}")
    typer.echo(
        f"loaded again and scored {len(data.val)} validation images: "
        f"largest difference {bundle.max_score_difference:.2g}"
    )
    shown = "  ".join(f"{key} {test.metrics[key]:.4f}" for key in ("auc", "accuracy", "f1") if key in test.metrics)
    typer.echo(f"test images: {shown + '; ' if shown else ''}{test.note}")
    for file in bundle.files:
        typer.echo(f"  {file}")


def sync(
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Send everything again, as to another server.")] = False,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Send MLflow what it has not acknowledged yet; another --tracking-uri moves the study to that server.

    No run of a study whose driver was killed stays RUNNING.
    """
    from cli.commands.control import end_if_left_open
    from cli.studies import resolve_name
    from study.errors import TrackingError
    from study.paths import Layout
    from tracking.client.preflight import preflight
    from tracking.exporter.sync import sync as send
    from tracking.run_ids import tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri, mask_uri

    layout = Layout(results)
    study = resolve_name(results, name)
    uri = default_tracking_uri(layout, tracking_uri_of(layout.study(study), tracking_uri))
    if fault := preflight(layout, uri, study):
        raise TrackingError(f"MLflow at {mask_uri(uri)} cannot be used now: {fault}; the events keep, sync again later")
    was_left_open = end_if_left_open(layout.study(study))
    report = send(layout, layout.study(study), uri, everything=everything)
    if json:
        told = {"study": study, "tracking_uri": report.tracking_uri, "sent": report.sent}
        print_json({**told, "was_left_open": was_left_open})
        return
    if was_left_open:
        typer.echo(f"{study}: its driver was killed, so its runs end there; `study resume {quote(study)}` goes on")
    typer.echo(f"{study}: sent {report.sent} events to {report.tracking_uri}")

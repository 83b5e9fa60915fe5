"""The command verify: whether a bundle is whole and its models give what they gave."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.options import BundleFolder, Json
from cli.output import print_json
from study.utils.text import printable


def verify(
    bundle: BundleFolder,
    run_graph: Annotated[
        bool,
        typer.Option("--run-graph", help="Run model.pt2 too; loading it executes pickles, so only if you made it."),
    ] = False,
    json: Json = False,
) -> None:
    """Check a bundle's sums, shapes and classes, and its models against each other and the export; else exit code 1."""
    from study.export.verification import verify_bundle

    findings = []
    for finding in verify_bundle(bundle, run_graph=run_graph):
        findings.append(finding)
        if not json:
            word = {True: "ok", False: "wrong", None: "skipped"}[finding.is_right]
            typer.echo(f"{finding.what:18s} {word:8s} {printable(finding.detail)}")
    is_right = all(finding.is_right is not False for finding in findings)
    if json:
        print_json({"bundle": str(bundle), "is_right": is_right, "findings": [asdict(each) for each in findings]})
    raise typer.Exit(not is_right)

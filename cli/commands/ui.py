"""Show a study in a browser: MLflow's UI, or Optuna's dashboard."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from cli.options import RESULTS, Json, Name, Results, TrackingUri
from cli.output import print_json

MLFLOW_PORT, OPTUNA_PORT = 5000, 8080
_TRIES = 10


def ui(
    name: Name = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="Serve Optuna's dashboard instead of MLflow.")] = False,
    results: Results = RESULTS,
    tracking_uri: TrackingUri = None,
    host: Annotated[str, typer.Option("--host", help="Another than 127.0.0.1 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, show_default=False,
            help="Where to listen; 0 takes a free port. Default: the first free one from 5000 on, with --optuna 8080.",
        ),
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Serve MLflow's UI or Optuna's dashboard on this machine, opened on a study."""
    from cli.queries.study_handle import resolve_name

    study = resolve_name(results, name)
    signal.signal(signal.SIGTERM, _leave)  # so that no server outlives this command
    try:
        if optuna:
            _show_optuna(results, study, tracking_uri, host, port, json)
        else:
            _show_mlflow(results, study, tracking_uri, host, port, json)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)


def _show_mlflow(results: Path, name: str, tracking_uri: str | None, host: str, port: int | None, json: bool) -> None:
    from study.paths import Layout
    from tracking.moved_database import require_own_artifacts
    from tracking.run_ids import load_runs_at, tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri, is_server, mask_uri
    from tracking.ui.server import require_database, serve, server_page

    layout = Layout(results)
    study = layout.study(name)
    uri = default_tracking_uri(layout, tracking_uri_of(study, tracking_uri))
    experiment = load_runs_at(study.runs, mask_uri(uri)).experiment_id
    if is_server(uri):
        _say(server_page(uri, experiment), "a server runs already", json)
        return
    require_database(layout, uri)
    if tracking_uri is None:
        require_own_artifacts(uri)
    chosen = _choose_port(host, port, MLFLOW_PORT)
    server = serve(uri, layout.mlflow_artifacts, host=host, port=chosen, experiment_id=experiment)
    try:
        _say(server.url, "MLflow's UI, Ctrl-C stops it", json)
        server.wait()
    finally:
        server.stop()


def _show_optuna(results: Path, name: str, tracking_uri: str | None, host: str, port: int | None, json: bool) -> None:
    from study.paths import Layout
    from study.storage.optuna_dashboard import Dashboard
    from tracking.tracking_uri import mask_uri
    from tracking.ui.links import RunLinks

    study = Layout(results).study(name)
    links = RunLinks(study, tracking_uri and mask_uri(tracking_uri))
    dashboard = Dashboard(study, links, host, _choose_port(host, port, OPTUNA_PORT))
    try:
        _say(dashboard.url, "Optuna's dashboard, Ctrl-C stops it", json)
        if links.need_serving and not json:
            typer.echo(
                f"its links to MLflow lead to {links.address}, where `{study.command('ui')}` serves the runs", err=True
            )
        dashboard.serve()
    finally:
        dashboard.close()


def _choose_port(host: str, port: int | None, default: int) -> int:
    """Return the port that was asked for, else the default one or one of the next few if that is taken."""
    from study.utils.network import free_port

    if port is not None:
        return port
    free = free_port(host, default, _TRIES)
    if free != default:
        typer.echo(f"port {default} is taken, so {free} it is", err=True)
    return free


def _say(url: str, what: str, json: bool) -> None:
    if json:
        print_json({"url": url})
    else:
        typer.echo(f"{what}: {url}")


def _leave(signum: int, frame: object) -> None:
    raise KeyboardInterrupt

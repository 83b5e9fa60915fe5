"""The command serve: a bundle that answers pictures over HTTP."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from cli.options import BundleFolder


def serve(
    bundle: BundleFolder,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Pictures that may wait; more are answered by 503.", metavar="N")
    ] = 64,
    connections: Annotated[
        int, typer.Option("--connections", min=1, help="Clients at the same time; more get 503.", metavar="N")
    ] = 256,
) -> None:
    """Answer pictures that are sent to /predict; /docs says how. Ctrl-C and SIGTERM end it within 10 s."""
    from study.bundles import OnnxClassifier
    from study.inference.server import Limits, make_server, open_socket
    from study.inference.service import InferenceService

    classifier = OnnxClassifier.open(bundle)
    name = bundle.resolve().name
    with open_socket(host, port) as listening, InferenceService(classifier, limit=queue) as service:
        address = f"[{host}]" if ":" in host else host
        typer.echo(f"serving {name} on http://{address}:{listening.getsockname()[1]}: POST a picture to /predict, "
                   "see /docs; Ctrl-C ends it", err=True)  # fmt: skip
        # uvicorn raises the signal that ended it again, for the handler of before.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            make_server(service, name, Limits(connections=connections)).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)

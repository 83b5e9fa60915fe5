"""Be MLflow's server in a process that imports MLflow once; its own command does so twice and takes twice as long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from tracking.serving.first_page import App, FirstPage
from tracking.serving.static_files import StaticFiles

_LOOK_EVERY_S = 1.0


def main(host: str, port: str, parent: str) -> None:
    """Serve the database of MLFLOW_BACKEND_STORE_URI until a signal ends it or the process ``parent`` is gone."""
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    try:
        app = _prepared()
    except (ImportError, AttributeError):  # another MLflow inside; its command stays what it is
        command = ["mlflow", "server", "--host", host, "--port", port, "--workers", "1"]
        os.execv(sys.executable, [sys.executable, "-m", *command])
    import uvicorn

    uvicorn.run(StaticFiles(FirstPage(app)), host=host, port=int(port), log_level="warning")


def _end_with(parent: int) -> None:
    """End this process when another is gone, however that went: a server nobody knows of keeps its port."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _prepared() -> App:
    """Do what `mlflow server` does before it starts its workers, and return what they run."""
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    database, root = os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: database,
        constants.REGISTRY_STORE_URI_ENV_VAR: database,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: os.environ["MLFLOW_ARTIFACTS_DESTINATION"],
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    initialize_backend_stores(database, database, root)
    from mlflow.server.fastapi_app import app

    served: App = app
    return served


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Create an MLflow database in sqlite atomically (MLflow cannot complete a half-made one); reach any other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from study.paths import sync_folder
from tracking.tracking_uri import SQLITE, is_database, sqlite_path


def is_missing(tracking_uri: str) -> bool:
    """Whether the URI is of a sqlite file that does not exist yet."""
    path = sqlite_path(tracking_uri)
    return path is not None and not path.exists()


def require_reachable(tracking_uri: str) -> None:
    """Connect to a database once; MLflow itself would try one that is away for a minute and a half.

    Raises:
        SQLAlchemyError: it cannot be reached.
    """
    import sqlalchemy

    if is_missing(tracking_uri) or not is_database(tracking_uri):
        return
    engine = sqlalchemy.create_engine(tracking_uri, poolclass=sqlalchemy.NullPool)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


def ensure_database(tracking_uri: str, make: Callable[[str], object]) -> None:
    """Create the sqlite file of a URI unless it exists; several processes at once create one.

    Args:
        tracking_uri: Any; nothing is done for one that is not of a file.
        make: Makes MLflow create its tables in the database of a URI.
    """
    path = sqlite_path(tracking_uri)
    if path is None or path.exists():
        return
    staging = path.with_name(f".{path.name}.part")
    with _locked(path.parent):
        if path.exists():
            return
        for left in path.parent.glob(f"{staging.name}*"):  # and sqlite's own journal beside it
            left.unlink(missing_ok=True)
        make(f"{SQLITE}{staging}")
        staging.replace(path)
        sync_folder(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder; the kernel releases that of a killed process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""Keep every test's caches and settings away from the user's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

# Folders whose files run whole studies: they begin first, so that no worker is left with one when the others are done.
SLOW = ("command_line", "engine", "tracker", "ui")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in SLOW)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Render and decode into a folder of this test run, shared by its tests and the processes they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("STUDY_RESULTS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        yield

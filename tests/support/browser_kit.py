"""Fixtures of the browser tests: headless Chromium, a played study, and `study ui` serving it as a user starts it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from played_study import NAME, play_study

from study.paths import Layout, StudyLayout
from tracking.run_ids import Runs, load_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
WAIT_MS = 300_000  # of a machine that does much else
VIEWPORT = {"width": 1440, "height": 900}
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # pages reach this machine only
]  # fmt: skip


@dataclass(frozen=True)
class Served:
    """What `study ui` said, and what it shows."""

    url: str
    study: StudyLayout

    @property
    def address(self) -> str:
        return self.url.partition("/#")[0].partition("/dashboard")[0]

    @property
    def runs(self) -> Runs:
        known = load_runs(self.study.runs)
        assert known is not None
        return known

    def run(self, trial: int | None = None) -> str:
        """Return the URL of a trial's run, of the study's own for None."""
        runs = self.runs
        run = runs.parent if trial is None else runs.trials[trial]
        return f"{self.address}/#/experiments/{runs.experiment_id}/runs/{run}"


@contextmanager
def launched() -> Iterator[Browser]:
    """Start Chromium; skip the test where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium; Debian's package of that name has it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser) -> Iterator[BrowserContext]:
    """Come as somebody who was never here."""
    context = browser.new_context(viewport=VIEWPORT)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    try:
        yield context
    finally:
        context.close()


@contextmanager
def serving(results: Path, *options: str, name: str = NAME) -> Iterator[Served]:
    """Run `study ui` until the end of the block, then press Ctrl-C."""
    command = [sys.executable, "-m", "cli", "ui", "--results", str(results), "--port", "0", "--json", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=_heed_ctrl_c
    )
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if line.rstrip() == "}":
                break
        assert said, process.communicate()[1]
        yield Served(json.loads(said)["url"], Layout(results).study(name))
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=300)[1].strip().endswith("stopped")
        assert process.returncode == 0
    finally:
        process.terminate()
        process.communicate()


def _heed_ctrl_c() -> None:
    """Let a process be interrupted although this one was started in the background, where a shell has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file; a session's would keep its event loop from other tests."""
    with launched() as launched_browser:
        yield launched_browser


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    with visiting(browser) as context:
        yield context


@pytest.fixture(scope="module")
def page(visitor: BrowserContext) -> Iterator[Page]:
    """A page of somebody who was here before: on the way from view to view MLflow loads nothing anew."""
    opened = visitor.new_page()
    yield opened
    opened.close()


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Page]:
    """A page of somebody who was never here."""
    with visiting(browser) as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def played_results(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, browser: Browser) -> Path:
    """A results folder with a whole study; nobody plays it where there is no browser."""
    results = tmp_path_factory.mktemp("played")
    shutil.copy(empty_database, results / "mlflow.db")
    play_study(results)
    return results


@pytest.fixture(scope="module")
def mlflow_ui(played_results: Path) -> Iterator[Served]:
    with serving(played_results) as site:
        yield site


@pytest.fixture(scope="module")
def optuna_ui(played_results: Path) -> Iterator[Served]:
    with serving(played_results, "--optuna") as site:
        yield site

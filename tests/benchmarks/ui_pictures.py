"""Take the pictures of MLflow's UI and Optuna's dashboard that results/reference shows.

Run: python tests/benchmarks/ui_pictures.py --results results --name ablation --into results/reference
Without --results a study of simulated trials is shown. Needs Debian's chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from browser_kit import Served, launched, serving, visiting
from browser_walks import (
    NAMES,
    compare_best,
    description,
    open_artifact,
    open_charts,
    open_compared_metric,
    open_trials,
    open_view,
    run_names,
    unfold,
)
from played_study import NAME, play_study

from tracking.content.ui_views import RANKING, TREE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_SETTLES_MS = 1500
_ROC = "section:has(#plot-roc)"


def main() -> None:
    """Walk through the pages and write a picture of each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--results", type=Path)
    options.add_argument("--name", default=NAME)
    options.add_argument("--into", type=Path, default=Path("results/reference"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        if chosen.results is None:
            play_study(Path(folder))
        results = chosen.results or Path(folder)
        with serving(results, chosen.name, name=chosen.name) as ui:
            for picture, walk in _MLFLOW.items():
                _take(browser, ui, chosen.into / f"{picture}.png", walk)
        with serving(results, chosen.name, "--optuna", name=chosen.name) as ui:
            _take(browser, ui, chosen.into / "optuna_dashboard.png", lambda page, ui: open_trials(page, ui, 1))


def _take(browser: Browser, ui: Served, picture: Path, walk: Callable[[Page, Served], object]) -> None:
    with visiting(browser) as visitor:
        page = visitor.new_page()
        walk(page, ui)
        page.wait_for_timeout(_SETTLES_MS)
        page.screenshot(path=picture)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def _ranking(page: Page, ui: Served) -> None:
    page.goto(ui.url)
    page.locator(NAMES).first.wait_for()


def _nested(page: Page, ui: Served) -> None:
    open_view(page, ui, TREE)
    unfold(page)
    page.get_by_role("heading", name="Runs").click()  # else the unfolded row has a frame


def _curves(page: Page, ui: Served) -> None:
    compare_best(page, ui, 5)
    open_compared_metric(page, "val_auc")


def _best(page: Page, ui: Served) -> int:
    open_view(page, ui, RANKING)
    page.locator(NAMES).nth(4).wait_for()
    return int(run_names(page)[0].split()[1])


def _run(page: Page, ui: Served) -> None:
    page.goto(ui.run(_best(page, ui)))
    page.get_by_text("best.val_auc", exact=True).wait_for()


def _artifact(page: Page, ui: Served) -> None:
    url = ui.run(_best(page, ui))
    page.goto(f"{url}/artifacts")
    nodes = page.get_by_test_id("artifact-tree-node")
    nodes.get_by_text("checkpoint", exact=True).click()
    nodes.get_by_text("checkpoint.json", exact=True).wait_for()
    frame = open_artifact(page, None, "pictures.html")
    frame.locator(_ROC).evaluate("section => section.scrollIntoView({block: 'start'})")


_MLFLOW: dict[str, Callable[[Page, Served], object]] = {
    "mlflow_runs": _ranking,
    "mlflow_nested": _nested,
    "mlflow_charts": lambda page, ui: open_charts(page, ui, 2),
    "mlflow_compare": lambda page, ui: compare_best(page, ui, 5),
    "mlflow_curves": _curves,
    "mlflow_run": _run,
    "mlflow_artifact": _artifact,
    "mlflow_learning_curves": lambda page, ui: open_artifact(page, ui.run(), "learning_curves.html"),
    "mlflow_study": lambda page, ui: description(page, ui.run()),
}

if __name__ == "__main__":
    main()

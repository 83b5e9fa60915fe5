"""Ways through MLflow's UI and Optuna's dashboard, each to a page that is drawn; for tests and for pictures."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tracking.content.ui_views import RANKING, view_path

if TYPE_CHECKING:
    from browser_kit import Served
    from playwright.sync_api import Frame, Locator, Page

NAMES = "[col-id='attributes.`Run Name`'] a[href*='/runs/']"
_METRIC_PAGE = re.compile(r"/metric\?")
_CLICKS, _CLICK_MS = 5, 10_000
_TRACES = "plot => plot.data.map(trace => trace.name ?? trace.type)"
_SCROLL = "() => document.querySelectorAll('.ReactVirtualized__Grid').forEach(grid => { grid.scrollTop += 150; })"
_VISIBLE_HEADERS = """
() => [...document.querySelectorAll('.ag-header-cell[col-id]')].map(cell => {
  const box = cell.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  return [x, cell.innerText.trim(), cell.contains(document.elementFromPoint(x, y))];
}).filter(([x, text, seen]) => text && seen).sort((a, b) => a[0] - b[0]).map(([x, text]) => text)
"""


def open_view(page: Page, ui: Served, view: str) -> None:
    """Open the runs of the study in one of its views."""
    page.goto(ui.address + view_path(ui.runs.experiment_id, view))
    page.locator(NAMES).first.wait_for()


def open_charts(page: Page, ui: Served, curves: int) -> None:
    """Open the charts of the study's runs and wait for that many curves in one of them, and for the parallel axes."""
    page.goto(ui.address + view_path(ui.runs.experiment_id, RANKING, charts=True))
    page.locator(f".js-plotly-plot:has(.scatterlayer .trace:nth-child({curves}))").first.wait_for()
    page.locator(".parcoords .label").first.wait_for()


def run_names(page: Page) -> list[str]:
    """Return the names in the runs table from top to bottom."""
    links = page.locator(NAMES)
    places = [
        (box["y"], links.nth(at).inner_text()) for at in range(links.count()) if (box := links.nth(at).bounding_box())
    ]
    return [name for _, name in sorted(places)]


def visible_headers(page: Page) -> list[str]:
    """Return the titles of the columns whose middle can be seen, from left to right."""
    headers: list[str] = page.evaluate(_VISIBLE_HEADERS)
    return headers


def unfold(page: Page) -> None:
    """Show the trials under their study."""
    page.locator("[col-id='attributes.`Run Name`'] button").first.click()
    page.locator(NAMES, has_text="trial 0000").wait_for()


def compare_best(page: Page, ui: Served, count: int) -> None:
    """Select the best trials and compare them."""
    open_view(page, ui, RANKING)
    page.locator(NAMES).nth(count - 1).wait_for()
    for at in range(count):
        page.locator(f".ag-row[row-index='{at}'] .ag-checkbox-input").check(force=True)
    page.get_by_test_id("runs-compare-button").click()
    page.get_by_text(f"Comparing {count} Runs from 1 Experiment").wait_for()
    page.locator(".js-plotly-plot .parcoords").first.wait_for()


def open_compared_metric(page: Page, metric: str) -> None:
    """Go from the comparison to the curves of one metric."""
    from playwright.sync_api import TimeoutError

    link = page.get_by_role("link", name=metric, exact=True)
    page.get_by_role("link", name="best.epoch", exact=True).first.wait_for()
    for _ in range(100):  # the list has only those rows that can be seen
        if link.count():
            break
        page.evaluate(_SCROLL)
        page.wait_for_timeout(100)
    for _ in range(_CLICKS):  # a click that meets the list while it is drawn anew goes nowhere
        link.first.click()
        with suppress(TimeoutError):
            page.wait_for_url(_METRIC_PAGE, timeout=_CLICK_MS)
            break
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()


def plots(page: Page | Frame) -> list[list[str]]:
    """Return the names of the traces of every plot."""
    drawn = page.locator(".js-plotly-plot")
    return [drawn.nth(at).evaluate(_TRACES) for at in range(drawn.count())]


def axes(page: Page) -> list[str]:
    """Return the axes of the first parallel coordinates."""
    names: Any = page.locator(".js-plotly-plot:has(.parcoords)").first.evaluate(
        "plot => plot.data[0].dimensions.map(one => one.label.replace(/<[^>]*>/g, ''))"
    )
    return list(names)


def open_artifact(page: Page, url: str | None, name: str) -> Frame:
    """Show an HTML artifact of a run, that of the page for None, and return its frame once its plots are drawn."""
    if url is not None:
        page.goto(f"{url}/artifacts")
    page.get_by_test_id("artifact-tree-node").get_by_text(name, exact=True).click()
    element = page.locator("iframe#html").element_handle()
    frame = element.content_frame()
    assert frame is not None
    frame.locator(".js-plotly-plot .main-svg").first.wait_for()
    return frame


def description(page: Page, url: str) -> Locator:
    """Open a run's page and return its whole description."""
    page.goto(url)
    page.get_by_text("Show more").click()
    note = page.get_by_test_id("note-editor-preview-content").filter(has_text="Searched").last
    note.wait_for()
    return note


def open_trials(page: Page, ui: Served, trial: int) -> None:
    """Show a trial in Optuna's dashboard."""
    page.goto(f"{ui.url}/trials?numbers={trial}")
    page.get_by_role("heading", name=f"Trial {trial} (trial_id={trial})").wait_for()

"""Measure how long a person waits for `study ui`, for the page with the table of 500 runs, and for another order of it.

Run: python tests/benchmarks/ui_500.py [--runs 500] [--rounds 5] [--results DIR] [--write results/reference/ui_500.json]
The study is played into DIR, or taken from there if DIR has one.
Needs Debian's chromium. The trials are simulated; storage, outbox, MLflow's database and the pages are real.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from browser_kit import Served, launched, serving, visiting
from browser_walks import NAMES
from machine import busy_cores, describe_machine
from played_study import NAME, play_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROWS = 20
_LAST = f".ag-row[row-index='{ROWS - 1}']"
_FIRST = f".ag-row[row-index='0'] {NAMES}"
_TITLES = ("best.val_auc", "learning_rate")


def main() -> None:
    """Play a study, serve it and open its table again and again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=500)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--results", type=Path)
    options.add_argument("--write", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        results = chosen.results or Path(folder)
        if not (results / "studies" / NAME).exists():
            play_study(results, trials=chosen.runs, epochs=5, pages=False)
        figures = {"busy_cores_before": round(busy_cores(), 2)}
        begun = time.monotonic()
        with serving(results) as ui:
            figures |= {"runs": len(ui.runs.trials), "start_s": round(time.monotonic() - begun, 3)}
            figures |= _table(browser, ui, chosen.rounds)
    figures |= {"rows": ROWS, "busy_cores_after": round(busy_cores(), 2), "machine": describe_machine()}
    print(json.dumps(figures, indent=1))
    if chosen.write:
        chosen.write.write_text(json.dumps(figures, indent=1) + "\n")


def _table(browser: Browser, ui: Served, rounds: int) -> dict[str, object]:
    first = [_fresh_s(browser, ui) for _ in range(rounds)]
    with visiting(browser) as visitor:
        again: list[float] = []
        for _ in range(rounds + 1):
            page = visitor.new_page()
            again.append(_waits_s(page, ui))
            page.close()
    with visiting(browser) as visitor:
        answers = _orders_s(visitor.new_page(), ui, rounds)
    return {
        "first_visit_s": first, "first_visit_median_s": statistics.median(first),
        "later_visit_s": again[1:], "later_visit_median_s": statistics.median(again[1:]),
        "new_order_s": answers, "new_order_median_s": statistics.median(answers),
    }  # fmt: skip


def _fresh_s(browser: Browser, ui: Served) -> float:
    """Wait as somebody does whose browser has nothing of MLflow's yet."""
    with visiting(browser) as visitor:
        return _waits_s(visitor.new_page(), ui)


def _waits_s(page: Page, ui: Served) -> float:
    """Return the time from the navigation until the table has its first rows, names in them."""
    begun = time.monotonic()
    page.goto(ui.url)
    page.locator(NAMES).first.wait_for()
    page.locator(_LAST).first.wait_for(state="attached")
    return round(time.monotonic() - begun, 3)


def _orders_s(page: Page, ui: Served, rounds: int) -> list[float]:
    """Return the times from a click on a column's title until the table has other rows."""
    _waits_s(page, ui)
    times = []
    for turn in range(rounds):
        first = page.locator(_FIRST).first.inner_text()
        title = page.locator(".ag-header-cell span", has_text=_TITLES[turn % len(_TITLES)]).first
        begun = time.monotonic()
        title.click()
        page.locator(f"{_FIRST}:not(:text-is('{first}'))").first.wait_for()
        times.append(round(time.monotonic() - begun, 3))
    return times


if __name__ == "__main__":
    main()

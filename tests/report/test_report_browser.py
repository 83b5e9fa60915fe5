"""The report in headless Chromium: without scripts, on a phone, in the dark, sorted and filtered, hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_kit import launched
from report_content_kit import made_content

from study.report.page import html_page
from study.report.sections.document import study_document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIED = (2.6, 2.55, 2.5, 2.2, 1.9, 1.6, 1.5, 1.2)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as launched_browser:
        yield launched_browser


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> dict[str, str]:
    """Address of each page; nobody makes them where there is no browser."""
    folder: Path = tmp_path_factory.mktemp("pages")
    for name, content in (("plain", made_content(leads=TIED)), ("hostile", made_content(hostile=True))):
        (folder / f"{name}.html").write_text(html_page(study_document(content, "study")))
    return {name: (folder / f"{name}.html").as_uri() for name in ("plain", "hostile")}


def _first_column(page: Page) -> list[str]:
    return page.locator("#leaderboard tbody tr:visible td:nth-child(3)").all_inner_texts()


def test_the_answer_needs_no_script(chromium: Browser, urls: dict[str, str]) -> None:
    page = chromium.new_page(java_script_enabled=False)
    page.goto(urls["plain"])
    assert page.locator(".answer").inner_text().startswith("Undecided: 4 of 8")
    assert page.locator("#figure-noise svg").is_visible()
    assert len(_first_column(page)) == 8
    assert page.locator(".filter").count() == 0
    page.close()


def test_the_leaderboard_is_sorted_and_filtered_from_the_keyboard(chromium: Browser, urls: dict[str, str]) -> None:
    page = chromium.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(urls["plain"])
    ranked = _first_column(page)
    head = page.locator("#leaderboard th", has_text="val_auc")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert _first_column(page) == ranked[::-1]
    page.keyboard.press("Enter")
    assert _first_column(page) == ranked
    outline = head.locator("button").evaluate("one => getComputedStyle(one).outlineWidth")
    assert outline == "3px"
    page.locator(".filter input").fill("adam depth>=100")
    shown = page.locator("#leaderboard tbody tr:visible")
    rows = [dict(zip(["optimizer", "learning_rate", "depth"], row.split("\t")[-4:-1], strict=True))
            for row in shown.all_inner_texts()]  # fmt: skip
    assert rows
    assert all("adam" in row["optimizer"] and int(row["depth"]) >= 100 for row in rows)
    assert page.locator(".filter [role=status]").inner_text() == f"{len(rows)} of 8 rows"
    assert faults == []
    page.close()


@pytest.mark.parametrize("width", [360, 390, 1280])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_no_page_is_wider_than_its_screen(chromium: Browser, urls: dict[str, str], name: str, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    page.goto(urls[name])
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_dark_page_is_dark_and_a_print_is_light(chromium: Browser, urls: dict[str, str]) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(urls["plain"])
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 23, 27)"
    axis = page.locator("#figure-noise text.b").first
    assert axis.evaluate("one => getComputedStyle(one).fill") == "rgb(232, 235, 238)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    page.close()


def test_hostile_names_run_nothing_and_fetch_nothing(chromium: Browser, urls: dict[str, str]) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    talked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: talked.append(dialog.message))
    page.on("console", lambda message: talked.append(message.text))
    page.goto(urls["hostile"])
    page.wait_for_timeout(300)
    assert "injected" not in page.title().replace("document.title='injected'", "")
    assert page.locator("script").count() == 1
    assert page.locator("h1").inner_text() == "<script>document.title='injected'</script>"
    assert "{{7*7}}" in page.locator("#leaderboard").inner_text()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert talked == []
    page.close()

"""The report's page: what it says without scripts, what each figure offers, and that no name can do harm."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from report_content_kit import HOSTILE, made_content

from study.report.content import StudyContent
from study.report.elements import Document
from study.report.page import html_page, standalone_svg
from study.report.sections.document import study_document

_VOID = {"meta", "img", "input"}


class Reader(HTMLParser):
    """Collects what a browser would see: elements with attributes, their order, and all text but that of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def document(content: StudyContent) -> Document:
    return study_document(content, f"study, {content.state}")


@pytest.fixture(scope="module")
def page() -> str:
    return html_page(document(made_content(leads=(2.6, 2.55, 2.5, 2.2, 1.9, 1.6, 1.5, 1.2))))


@pytest.fixture(scope="module")
def hostile() -> str:
    return html_page(document(made_content(hostile=True)))


def test_the_first_screen_answers_before_any_script(page: str) -> None:
    first = Reader(page).text.partition("95 % intervals")[0]
    content = made_content(leads=(2.6, 2.55, 2.5, 2.2, 1.9, 1.6, 1.5, 1.2))
    assert content.verdict is not None
    winner = content.verdict.judgement.winner
    for told in ("Undecided: 4 of 8 configurations may be the best: 1, 2, 0 and 3.", content.answer,
                 f"{winner.corrected:.4f}",
                 f"{winner.low:.4f} to {winner.high:.4f}", "measured 0.9765, mean of 3 seeds",
                 "Two sources of noise", "to see a difference of"):  # fmt: skip
        assert told in first
    assert page.index('id="figure-noise"') < page.index('id="intervals"') < page.index("<script>")


def test_every_section_of_the_report_is_there(page: str) -> None:
    keys = [attributes["id"] for attributes in Reader(page).named("section")]
    assert keys == ["answer", "intervals", "leaderboard", "effects", "sets", "learning", "parameters", "predictions",
                    "wrong", "cost", "failures", "provenance"]  # fmt: skip
    links = {str(attributes["href"]) for attributes in Reader(page).named("a")}
    assert links == {"#main", *(f"#{key}" for key in keys[1:])}


@pytest.mark.parametrize("name", ["page", "hostile"])
def test_each_plot_has_a_name_a_description_and_its_numbers(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name)
    reader = Reader(text)
    assert not reader.open
    plots = reader.named("svg")
    assert len(plots) >= 10
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for plot in plots:
        assert plot["role"] == "img"
        labels = str(plot["aria-labelledby"]).split()
        assert len(labels) == 2
        assert set(labels) <= set(ids)
    assert text.count("<details>") == len(re.findall(r"<details><summary>[^<]+</summary><div[^>]*><table>", text))
    assert text.count("<details>") == len(plots)
    descriptions = re.findall(r"<desc id=[^>]*>([^<]*)</desc>", text)
    assert len(descriptions) == len(plots)
    assert all(len(told) > 20 for told in descriptions)


@pytest.mark.parametrize("name", ["page", "hostile"])
def test_the_policy_allows_this_script_and_style_and_nothing_from_elsewhere(
    name: str, request: pytest.FixtureRequest
) -> None:
    reader = Reader(request.getfixturevalue(name))
    policy = next(str(meta["content"]) for meta in reader.named("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert len(reader.named(kind)) == 1
    for _, attributes in reader.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for key in ("src", "href", "xlink:href", "action"):
            assert str(attributes.get(key, "#")).startswith(("#", "data:image/jpeg;base64,"))


def test_hostile_names_are_shown_and_do_nothing(hostile: str) -> None:
    reader = Reader(hostile)
    for name in HOSTILE[:3]:
        assert name in reader.text
    assert "right\\u202eto left" in reader.text
    assert "\u202e" not in hostile
    assert "49" not in re.findall(r"\{\{.*?\}\}", reader.text)
    assert "{{7*7}}" in hostile
    assert len(reader.named("script")) == 1
    assert not [1 for attributes in reader.named("img") if not str(attributes["src"]).startswith("data:")]


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_marks_have_contrast_in_light_dark_and_print(page: str) -> None:
    blocks = re.findall(r":root \{([^}]*)\}", page)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
        for ground in ("bg", "card", "mark"):
            for name in ("fg", "muted", "link", *(f"s{at}" for at in range(6))):
                if ground != "bg" and name.startswith("s"):
                    continue
                light, dark = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground, colours[name])


def test_figures_stand_alone_as_files(page: str) -> None:
    for content in (made_content(), made_content(hostile=True)):
        for section in document(content).sections:
            for figure in section.figures:
                root = ElementTree.fromstring(standalone_svg(figure))
                assert root.tag == "{http://www.w3.org/2000/svg}svg"
                assert "var(" not in standalone_svg(figure)


def test_an_unfinished_study_says_so_and_one_without_anything_is_a_page_too() -> None:
    going = document(made_content(state="running"))
    assert going.answer.startswith("So far: ")
    bare = replace(
        made_content(), entries=(), trials=(), verdict=None, predictions=(), wrong=(), effects=(), image_sets=(),
        tested=(), failures=(), importance={}, searched=(), no_verdict="nothing has ended", state="running",
        no_pictures="The pictures are not to be had.", answer="no: nothing is finished yet",
    )  # fmt: skip
    told = html_page(document(bare))
    assert "So far: nothing has ended with a checkpoint yet." in told
    assert "The pictures are not to be had." in told
    assert "No trial failed." in told


def test_the_page_stays_small_whatever_its_trials() -> None:
    content = made_content(configurations=50, seeds=1)
    entry = content.entries[0]
    many = replace(content, entries=tuple(
        replace(entry, key=k, name=f"trial {k}", rank=k + 1, standing=None, trials=(replace(entry.trials[0], trial=k),),
                best=replace(entry.trials[0], trial=k)) for k in range(2000)
    ), trials=tuple(replace(entry.trials[0], trial=k) for k in range(2000)), verdict=None)  # fmt: skip
    assert len(html_page(document(many)).encode()) < 4e6

"""The report as one HTML file that needs no other file, no network, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from study.report.elements import Document, Figure
from study.utils.text import html_text, printable

_BLANKS = re.compile(r"\n\s*")


def html_page(document: Document) -> str:
    """Return the page; its policy lets a browser run its own script and style only, whatever else got into it."""
    style, script = _style(), _script()
    return _environment().get_template("report.html.j2").render(
        document=document, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script)
    )  # fmt: skip


def standalone_svg(figure: Figure) -> str:
    """Return a figure as a file of its own, in the colours of a light page."""
    variables, rules = re.search(r"--bg[^}]*", _read("report.css")), _BLANKS.sub(" ", _read("plot.css"))
    assert variables is not None
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", variables[0]))
    style = re.sub(r"var\(--([a-z0-9]+)\)", lambda name: colours[name[1]], rules)
    size = (
        f'width="{figure.width:.0f}" height="{figure.height:.0f}" viewBox="0 0 {figure.width:.0f} {figure.height:.0f}"'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}><title>{html_text(figure.title)}</title>'
        f"<desc>{html_text(figure.description)}</desc><style>{style}</style>"
        f'<rect width="100%" height="100%" fill="{colours["bg"]}"/>{figure.svg}</svg>\n'
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=False, auto_reload=False
    )
    environment.filters["printable"] = lambda text: printable(str(text))
    environment.filters["drawn"] = Markup  # what this package wrote itself, escaped where it came from outside
    return environment


@cache
def _style() -> str:
    return _BLANKS.sub("\n", _read("report.css") + _read("plot.css"))


@cache
def _script() -> str:
    return _read("report.js")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _read(name: str) -> str:
    return files("study.report").joinpath("templates", name).read_text("utf-8")

"""A figure of a page as plain JSON, and the style all figures share."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.utils.text import printable

Json = dict[str, Any]

# Okabe & Ito 2008, without the yellow that is lost on white; distinguishable for colour-blind readers.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, GREY = "#56B4E9", "#E69F00", "#222222", "#8a8f98"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, BLACK)
DASHES = ("solid", "dash", "dot")
_MAX_NAME = 22


@dataclass(frozen=True)
class Panel:
    """A figure with its title and one line that says how to read it; ``wide`` takes the page's whole width."""

    key: str
    title: str
    note: str
    data: Sequence[Json]
    layout: Json
    wide: bool = False


def layout(height_px: int, **more: Any) -> Json:
    """Return the layout all figures share, with additions."""
    return {
        "height": height_px,
        "margin": {"l": 56, "r": 14, "t": 12, "b": 48},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12, "color": "#30343a"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        **more,
    }


def axis(title: str = "", **more: Any) -> Json:
    """Return an axis with a light grid."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "#eceef1",
        "linecolor": "#c3c8cf",
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": "#c3c8cf",
        "automargin": True,
        **more,
    }


def legend(x: str = "right", y: str = "bottom") -> Json:
    """Return a legend in one corner of the figure."""
    return {
        "x": {"left": 0.02, "right": 0.98}[x],
        "xanchor": x,
        "y": {"bottom": 0.03, "top": 0.98}[y],
        "yanchor": y,
        "bgcolor": "rgba(255,255,255,0.8)",
        "font": {"size": 11},
    }


def line(at: int, *, width: float = 2) -> Json:
    """Return the style of the n-th of several lines."""
    return {"color": COLOURS[at % len(COLOURS)], "dash": DASHES[at // len(COLOURS) % len(DASHES)], "width": width}


def label(name: str) -> str:
    """Return a name that prints, shortened and escaped, as plotly reads markup."""
    name = printable(name)
    cut = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    return escape(cut, quote=False)


def numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Return values for JSON; those that are not finite become gaps."""
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]


PACKED_ID = "plotly-packed"


@cache
def packed_plotly() -> str:
    """Return plotly.min.js, gzipped, as base64; a quarter of a second once per process, 2 MB."""
    return base64.b64encode(gzip.compress(_source(), compresslevel=9, mtime=0)).decode("ascii")


def _source() -> bytes:
    # find_spec finds the file without importing plotly, which a page does not need.
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotly must be installed, for the plotly.min.js in it")
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()

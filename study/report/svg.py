"""SVG by hand: scales, ticks and marks, with classes that the page colours for light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from study.utils.text import html_text, printable

SERIES = 6
"""How many lines or marks have colours of their own; each has a shape and a dash of its own too."""
SHAPES = ("diamond", "circle", "square", "triangle", "cross", "plus")
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "12 4")
_CHARACTER_PX = 6.9
"""Mean width of a character at 12 px, a little more than that of most fonts."""


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` onto pixels from ``start`` to ``end``; logarithmic where ``is_log``."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies outside is put on the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values between the ends."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            inside = [10.0**power for power in powers if self.low <= 10.0**power * (1 + 1e-9) <= self.high * (1 + 2e-9)]
            if len(inside) >= 2:
                return inside[:: math.ceil(len(inside) / most)]
            return [self.low, self.high]
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [at * step for at in range(first, last + 1)]


def span(values: Sequence[float], *, margin: float = 0.05) -> tuple[float, float]:
    """Return the ends of an axis that holds finite values with some room beside them."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(high) * margin or 0.5
    return low - room, high + room


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """Write a tick with as many digits as its neighbours need."""
    if value == 0:
        return "0"
    largest = max(map(abs, ticks))
    if largest >= 1e5 or largest < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    gaps = [abs(b - a) for a, b in pairwise(ticks) if b != a]
    digits = max(0, -math.floor(math.log10(min(gaps)) + 1e-9)) if gaps else 3
    return f"{value:.{min(digits, 6)}f}"


def text_width(text: str) -> float:
    """Estimate the width of a text of 12 px."""
    return _CHARACTER_PX * len(text)


def cut(text: str, width: float) -> str:
    """Return text that prints, cut to a width."""
    text, most = printable(text), max(2, int(width / _CHARACTER_PX))
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass
class Canvas:
    """Collects the elements of a plot of a size in pixels."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    @property
    def svg(self) -> str:
        """The markup inside the element."""
        return "".join(self.parts)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a straight line."""
        self.parts.append(f'<path class="{style}" d="M{_px(x1)} {_px(y1)}L{_px(x2)} {_px(y2)}"/>')

    def path(self, points: Sequence[tuple[float, float]], style: str, title: str = "", dash: str = "") -> None:
        """Draw a line through points."""
        if not points:
            return
        way = "L".join(f"{_px(x)} {_px(y)}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path class="{style}"{dashed} d="M{way}"{_closed("path", title)}')

    def series(self, points: Sequence[tuple[float, float]], at: int, title: str = "") -> None:
        """Draw the line of the ``at``-th of several series, with the marks of its shape where there is room."""
        self.path(points, f"l s{at % SERIES}", title, _DASHES[at % SERIES])
        for x, y in points if len(points) <= 12 else points[:: max(1, len(points) // 6)]:
            self.mark(x, y, SHAPES[at % SERIES], f"f{at % SERIES}", size=3.2)

    def rect(self, x: float, y: float, width: float, height: float, style: str, title: str = "") -> None:
        """Draw a rectangle."""
        size = f'x="{_px(x)}" y="{_px(y)}" width="{_px(max(width, 0))}" height="{_px(max(height, 0))}"'
        self.parts.append(f'<rect class="{style}" {size}{_closed("rect", title)}')

    def mark(self, x: float, y: float, shape: str, style: str, title: str = "", size: float = 5) -> None:
        """Draw a mark of a shape around a point."""
        if shape == "circle":
            place = f'cx="{_px(x)}" cy="{_px(y)}" r="{_px(size * 0.9)}"'
            self.parts.append(f'<circle class="{style}" {place}{_closed("circle", title)}')
            return
        small = size * 0.8
        ways = {
            "diamond": f"M{_px(x)} {_px(y - size)}l{_px(size)} {_px(size)}l{_px(-size)} {_px(size)}"
            f"l{_px(-size)} {_px(-size)}z",
            "square": f"M{_px(x - small)} {_px(y - small)}h{_px(2 * small)}v{_px(2 * small)}h{_px(-2 * small)}z",
            "triangle": f"M{_px(x)} {_px(y - size)}l{_px(size)} {_px(1.8 * size)}h{_px(-2 * size)}z",
            "cross": f"M{_px(x - small)} {_px(y - small)}l{_px(2 * small)} {_px(2 * small)}m0 {_px(-2 * small)}"
            f"l{_px(-2 * small)} {_px(2 * small)}",
            "plus": f"M{_px(x - size)} {_px(y)}h{_px(2 * size)}m{_px(-size)} {_px(-size)}v{_px(2 * size)}",
        }
        stroked = " k" if shape in ("cross", "plus") else ""
        self.parts.append(f'<path class="{style}{stroked}" d="{ways[shape]}"{_closed("path", title)}')

    def text(
        self, x: float, y: float, text: str, style: str = "t", anchor: str = "start", turned: bool = False
    ) -> None:
        """Write text at its baseline."""
        where = f'x="{_px(x)}" y="{_px(y)}"' + ("" if anchor == "start" else f' text-anchor="{anchor}"')
        turn = f' transform="rotate(-90 {_px(x)} {_px(y)})"' if turned else ""
        self.parts.append(f'<text class="{style}" {where}{turn}>{html_text(text)}</text>')

    def x_axis(self, scale: Scale, y: float, top: float, label: str, ticks: Sequence[float] | None = None) -> None:
        """Draw a horizontal axis at ``y`` with a grid up to ``top``."""
        ticks = scale.ticks(max(2, int(abs(scale.end - scale.start) / 80))) if ticks is None else ticks
        for tick in ticks:
            self.line(scale(tick), y, scale(tick), top, "g")
            self.text(scale(tick), y + 15, tick_text(tick, ticks), "t m", "middle")
        self.line(scale.start, y, scale.end, y, "a")
        self.text((scale.start + scale.end) / 2, y + 32, label, "t", "middle")

    def y_axis(self, scale: Scale, x: float, right: float, label: str) -> None:
        """Draw a vertical axis at ``x`` with a grid to ``right``."""
        ticks = scale.ticks(max(2, int(abs(scale.end - scale.start) / 45)))
        for tick in ticks:
            self.line(x, scale(tick), right, scale(tick), "g")
            self.text(x - 6, scale(tick) + 4, tick_text(tick, ticks), "t m", "end")
        self.line(x, scale.start, x, scale.end, "a")
        self.text(13, (scale.start + scale.end) / 2, label, "t", "middle", turned=True)

    def legend(self, x: float, y: float, entries: Sequence[tuple[int, str]], width: float) -> float:
        """Write the names of series below each other in columns; return the height that takes."""
        columns = max(1, int((self.width - x) // width))
        for at, (series, name) in enumerate(entries):
            left, top = x + at % columns * width, y + at // columns * 18
            self.path([(left, top), (left + 22, top)], f"l s{series % SERIES}", dash=_DASHES[series % SERIES])
            self.mark(left + 11, top, SHAPES[series % SERIES], f"f{series % SERIES}", size=3.6)
            self.text(left + 28, top + 4, cut(name, width - 36))
        return 18.0 * math.ceil(len(entries) / columns)


def _closed(tag: str, title: str) -> str:
    return f"><title>{html_text(title)}</title></{tag}>" if title else "/>"


def _px(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text

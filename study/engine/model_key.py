"""Name the weights that trials may begin with."""

from __future__ import annotations

from typing import NamedTuple


class WeightsKey(NamedTuple):
    """One set of weights: how it came about, and what model it fits."""

    init: str
    family: str
    depth: int

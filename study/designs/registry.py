"""The designs by the name that a study file gives them; to add one, write its class and put it here."""

from __future__ import annotations

from collections.abc import Mapping

from study.config.search_config import DesignKind
from study.designs.design import Design
from study.designs.factorial import Factorial
from study.designs.grid import Grid
from study.designs.one_factor import OneFactor

DESIGNS: Mapping[DesignKind, Design] = {
    "grid": Grid(),
    "one_factor": OneFactor(),
    "factorial": Factorial(),
}
"""Every design that lists its points; with ``search`` a sampler chooses them."""

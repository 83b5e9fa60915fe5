"""Write values and domains as people read them; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from study.config.hyperparameters import Scalar
from study.config.study_config import Choice, Domain, Integer
from study.designs.grid import values_of

_MOST_LISTED = 10


def written(value: Scalar) -> str:
    """Write a value as in a study file, text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def settings(params: Mapping[str, Scalar]) -> str:
    """Write values with their names: ``optimizer=sgd, depth=18``."""
    return ", ".join(f"{name}={written(value)}" for name, value in params.items())


def admitted(domain: Domain) -> str:
    """Say which values a domain that can be listed has."""
    if isinstance(domain, Choice):
        return f"one of {joined(map(written, domain.values))}"
    values = values_of(domain)
    if len(values) <= _MOST_LISTED:
        return f"one of {joined(map(written, values))}"
    if isinstance(domain, Integer) and domain.step == 1:
        return f"a whole number from {domain.low} to {domain.high}"
    return f"one of {', '.join(map(written, (values[0], values[1])))}, ..., {written(values[-1])}"


def joined(words: Iterable[str], last: str = "or") -> str:
    """Join words as in a sentence: ``a, b or c``."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final

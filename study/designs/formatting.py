"""Write values and domains for messages; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Condition, Domain, Integer
from study.designs.space import values_of

_MOST_LISTED = 10


def format_value(value: Scalar) -> str:
    """Write a value as in a study file, text without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def format_settings(params: Mapping[str, Scalar]) -> str:
    """Write values with their names: ``optimizer=sgd, depth=18``."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in params.items())


def format_domain(domain: Domain) -> str:
    """Describe the values of a domain that can be listed."""
    if isinstance(domain, Choice):
        return f"one of {join_words(map(format_value, domain.values))}"
    values = values_of(domain)
    if len(values) <= _MOST_LISTED:
        return f"one of {join_words(map(format_value, values))}"
    if isinstance(domain, Integer) and domain.step == 1:
        return f"a whole number from {domain.low} to {domain.high}"
    return f"one of {', '.join(map(format_value, (values[0], values[1])))}, ..., {format_value(values[-1])}"


def format_conditions(conditions: Iterable[Condition]) -> str:
    """Describe conditions: ``optimizer is sgd and depth is 10 or 18``."""
    return " and ".join(f"{when.parameter} is {' or '.join(map(format_value, when.values))}" for when in conditions)


def join_words(words: Iterable[str], last: str = "or") -> str:
    """Join words as in a sentence: ``a, b or c``."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final

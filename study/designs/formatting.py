"""Write values and domains for messages; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Condition, Constant, Domain, Integer, Parameter, Uniform
from study.designs.space import values_of
from study.utils.text import show_bare

_MOST_LISTED = 10


def format_settings(params: Mapping[str, Scalar]) -> str:
    """Write values with their names: ``optimizer=sgd, depth=18``."""
    return ", ".join(f"{name}={show_bare(value)}" for name, value in params.items())


def format_domain(domain: Domain) -> str:
    """Describe the values of a domain that can be listed."""
    if isinstance(domain, Choice):
        return f"one of {join_words(map(show_bare, domain.values))}"
    values = values_of(domain)
    if len(values) <= _MOST_LISTED:
        return f"one of {join_words(map(show_bare, values))}"
    if isinstance(domain, Integer) and domain.step == 1:
        return f"a whole number from {domain.low} to {domain.high}"
    return f"one of {', '.join(map(show_bare, (values[0], values[1])))}, ..., {show_bare(values[-1])}"


def format_parameter(parameter: Parameter) -> str:
    """Write a parameter as in a study file: ``{choice: [sgd, adam]}``."""
    match parameter.domain:
        case Constant(value=value):
            return _in_flow(value)
        case Choice(values=values):
            parts = [f"choice: {_flow_list(values)}"]
        case Integer(low=low, high=high, step=step, log=log):
            parts = [f"{'logint' if log else 'int'}: {_flow_list((low, high))}", f"step: {step}" * (step != 1)]
        case Uniform(low=low, high=high, step=by, log=log):
            parts = [
                f"{'loguniform' if log else 'uniform'}: {_flow_list((low, high))}",
                f"step: {by}" * (by is not None),
            ]
    if parameter.when:
        asked = (f"{when.parameter}: {_flow_list(when.values)}" for when in parameter.when)
        parts.append(f"when: {{{', '.join(asked)}}}")
    return f"{{{', '.join(filter(None, parts))}}}"


def _flow_list(values: Iterable[Scalar]) -> str:
    return f"[{', '.join(map(_in_flow, values))}]"


def _in_flow(value: Scalar) -> str:
    """Write a value between brackets, where a comma or a colon would end a text without quotes."""
    return (
        show_bare(value) if not isinstance(value, str) or re.fullmatch(r"[\w.+/<=()-]+", value) else json.dumps(value)
    )


def format_conditions(conditions: Iterable[Condition]) -> str:
    """Describe conditions: ``optimizer is sgd and depth is 10 or 18``."""
    return " and ".join(f"{when.parameter} is {' or '.join(map(show_bare, when.values))}" for when in conditions)


def join_words(words: Iterable[str], last: str = "or") -> str:
    """Join words as in a sentence: ``a, b or c``."""
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final

"""Read the domains of `space`: the values that each searched hyperparameter may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from study.config.hyperparameters import Hyperparameters, Scalar
from study.config.search_space import Choice, Constant, Domain, Integer, Uniform
from study.config_file.messages import (
    admits,
    alternatives,
    describe,
    listed_values,
    refusal,
    reject,
    repeated,
    schema_at,
    unknown_key,
)
from study.config_file.yaml_document import Loc, Report, Tree
from study.utils.suggestions import did_you_mean
from study.utils.text import show

KINDS = ("choice", "uniform", "loguniform", "int", "logint")
STEPPED = ("uniform", "int")
MOST_STEPS = 1_000_000_000
_ENDS = ("low", "high")
_FORMS = (
    "{choice: [...]}, {uniform: [low, high]}, {loguniform: [low, high]}, {int: [low, high]} or {logint: [low, high]}"
)


@dataclass(frozen=True)
class ParameterDraft:
    """A parameter as far as it could be read; ``domain`` is None where it has a fault, ``when`` is as written."""

    name: str
    domain: Domain | None
    when: object = None


def read_space(value: object, report: Report) -> list[ParameterDraft]:
    """Read every parameter of a space, in file order; null is an empty space."""
    if value is None:
        return []
    if not isinstance(value, dict):
        report.at_value(("space",), f"space must be a mapping from hyperparameter to domain, got {show(value)}")
        return []
    return [_DomainReader(name, report).parameter(domain) for name, domain in value.items()]


class _DomainReader:
    """Read the domain of one hyperparameter; a fault makes it None."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._title = f"space.{name}"
        self._loc: Loc = ("space", name)
        self._schema = schema_at(("trial", name)) or {}
        self._numbers = {member.get("type") for member in alternatives(self._schema) if "enum" not in member}
        self._report = report

    def parameter(self, value: object) -> ParameterDraft:
        """Read the parameter: a plain value, or a mapping that names its domain."""
        if not self._schema:
            self._report.at_key(self._loc, unknown_key(self._name, "space", Hyperparameters.model_fields))
        elif self._schema.get("type") == "array":
            rule = f"{self._name} is {describe(self._schema)}, which cannot be searched"
            self._report.at_key(self._loc, f"{rule}; give trial.{self._name} instead")
        elif not isinstance(value, dict):
            return ParameterDraft(self._name, self._constant(value))
        else:
            return ParameterDraft(self._name, self._domain(value), value.get("when"))
        return ParameterDraft(self._name, None, value.get("when") if isinstance(value, dict) else None)

    def _constant(self, value: object) -> Domain | None:
        if isinstance(value, list):
            self._report.at_value(self._loc, f"{self._title} is a list; write {{choice: {show(value)}}}")
        elif value is None:
            self._report.at_value(self._loc, f"{self._title} has no value; give a constant or {_FORMS}")
        elif self._is_admitted(self._title, value, self._loc):
            return Constant(value=self._typed(value))
        return None

    def _domain(self, value: Tree) -> Domain | None:
        """Read the domain that a mapping names."""
        known = (*KINDS, "step", "when")
        for key in value:
            if key not in known:
                self._report.at_key((*self._loc, key), unknown_key(key, self._title, known, alone=True))
        if "when" in value and value["when"] is None:
            rule = f"{self._title}.when has no value; name a parent, such as {{optimizer: sgd}}"
            self._report.at_value((*self._loc, "when"), rule)
        kinds = [key for key in value if key in KINDS]
        if not kinds:
            if not any(did_you_mean(key, KINDS) for key in value):
                self._report.at_key(self._loc, f"{self._title} has no domain; give a constant or {_FORMS}")
            return None
        if len(kinds) > 1:
            message = f"{self._title} must have one domain, got {' and '.join(kinds)}; keep one of them"
            self._report.at_key((*self._loc, kinds[1]), message)
            return None
        if "step" in value and kinds[0] not in STEPPED:
            rule = f"{self._title}.step belongs to uniform and int, not to {kinds[0]}"
            self._report.at_key((*self._loc, "step"), rule)
        return self._choice(value["choice"]) if kinds[0] == "choice" else self._range(kinds[0], value)

    def _choice(self, values: object) -> Domain | None:
        loc = (*self._loc, "choice")
        if not isinstance(values, list):
            self._report.at_value(loc, f"{self._title}.choice must be a list of values, got {show(values)}")
            return None
        if not values:
            self._report.at_value(loc, f"{self._title}.choice must have at least one value, got []")
            return None
        title, again = f"{self._title}.choice", repeated(values)  # for Optuna 1, 1.0 and true are one value, too
        good = [
            self._is_choice(f"{title}[{at}]", item, (*loc, at)) for at, item in enumerate(values) if at not in again
        ]
        for at, first in again.items():
            value = values[at]
            same = "twice" if show(first) == show(value) else f"as {show(first)} and as {show(value)}"
            self._report.at_value((*loc, at), f"{title} must not repeat a value, got {show(value)} {same}")
        return Choice(values=tuple(map(self._typed, values))) if all(good) and not again else None

    def _is_choice(self, title: str, value: object, loc: Loc) -> bool:
        if value is None:
            self._report.at_value(loc, f"{title} must be {describe(self._schema)}, got null")
            return False
        return self._is_admitted(title, value, loc)

    def _range(self, kind: str, value: Tree) -> Domain | None:
        log, number = kind.startswith("log"), int if "int" in kind else float
        if not self._takes(kind, number) or (ends := self._ends(kind, value[kind], number, log)) is None:
            return None
        step = self._step(value, number, *ends) if kind in STEPPED else None
        if not self._is_range_admitted(kind, *ends, step or 1):
            return None
        if number is int:
            return Integer(low=ends[0], high=ends[1], step=step or 1, log=log)
        return Uniform(low=ends[0], high=ends[1], step=step, log=log)

    def _takes(self, kind: str, number: type) -> bool:
        """Whether the hyperparameter can be drawn from a range of this kind at all."""
        if number is int and any(type(value) is int for value in listed_values(self._schema)):
            return True
        if "number" in self._numbers or (number is int and "integer" in self._numbers):
            return True
        way_out = "use int or logint" if "integer" in self._numbers else "use choice"
        message = f"{self._title} must be {describe(self._schema)}, so {kind} does not fit; {way_out}"
        self._report.at_key((*self._loc, kind), message)
        return False

    def _ends(self, kind: str, value: object, number: type, log: bool) -> tuple[Any, Any] | None:
        """Return low and high where both are numbers in order."""
        loc = (*self._loc, kind)
        if not isinstance(value, list) or len(value) != 2:
            self._report.at_value(loc, f"{self._title}.{kind} must be [low, high], got {show(value)}")
            return None
        good = [self._is_number(f"{self._title}.{end}", number, value[at], (*loc, at)) for at, end in enumerate(_ENDS)]
        if not all(good):
            return None
        low, high = value
        if low >= high:
            rule = f"{self._title}: `low < high` must hold, but got (low={show(low)}, high={show(high)})"
            self._report.at_value((*loc, 0), rule)
        if log and low <= 0:
            self._report.at_value((*loc, 0), f"{self._title}.low must be > 0 when the scale is log, got {show(low)}")
        return (low, high) if low < high and (low > 0 or not log) else None

    def _is_range_admitted(self, kind: str, low: Any, high: Any, step: Any) -> bool:
        """Whether the hyperparameter admits both ends, and where it lists its values all that are drawn."""
        if not listed_values(self._schema):
            good = [
                self._is_admitted(f"{self._title}.{end}", value, (*self._loc, kind, at))
                for at, (end, value) in enumerate(zip(_ENDS, (low, high), strict=True))
            ]
            return all(good)
        drawn = range(low, high + 1, step)
        refused = next((value for value in drawn if not admits(("trial", self._name), value)), None)
        if refused is not None:
            message = f"{self._title} must be {describe(self._schema)}, but {kind} gives {refused} too; use choice"
            self._report.at_value((*self._loc, kind), message)
        return refused is None

    def _step(self, value: Tree, number: type, low: Any, high: Any) -> Any:
        """Return the step, None where there is none or it has a fault."""
        if "step" not in value:
            return None
        step, loc, title = value["step"], (*self._loc, "step"), f"{self._title}.step"
        if not self._is_number(title, number, step, loc):
            return None
        if step <= 0:
            self._report.at_value(loc, f"{title} must be > 0, got {show(step)}")
            return None
        first, last, by = (Decimal(str(part)) for part in (low, high, step))
        if by > last - first:
            # in decimals, as people write them: in binary 0.0351 - 0.0001 is less than 0.035
            self._report.at_value(loc, f"{title} must be <= high - low = {last - first}, got {show(step)}")
            return None
        if (last - first) / by > MOST_STEPS:
            rule = f"{title} must make at most {MOST_STEPS:,} steps from low to high, got {show(step)}"
            self._report.at_value(loc, f"{rule}; take a larger one, or none")
            return None
        return step

    def _is_admitted(self, title: str, value: object, loc: Loc) -> bool:
        try:
            self._typed(value)
        except ValidationError:
            message = reject(title, ("trial", self._name), value, self._report.written(loc))
            self._report.at_value(loc, message or "")
            return False
        return True

    def _is_number(self, title: str, number: type, value: object, loc: Loc) -> bool:
        def takes(candidate: object) -> bool:
            return type(candidate) in (int, number) and math.isfinite(candidate)  # type: ignore[arg-type]

        if not takes(value):
            what = "a whole number" if number is int else "a number"
            self._report.at_value(loc, refusal(title, what, value, takes, self._report.written(loc)))
        return takes(value)

    def _typed(self, value: Any) -> Scalar:
        """Return a value as the hyperparameter has it, such as a whole number as a real one."""
        typed: Scalar = getattr(Hyperparameters.model_validate({self._name: value}), self._name)
        return typed

"""Read the domains of `space`: the values that each searched hyperparameter may take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from study.config.hyperparameters import Hyperparameters, Scalar
from study.config.search_space import Choice, Constant, Domain, Integer, Uniform
from study.config_file.messages import (
    admits,
    describe,
    field_type,
    is_list,
    listed_values,
    numbers_of,
    reject,
    show,
    unknown_key,
)
from study.config_file.yaml_document import Loc, Report, Tree
from study.utils.suggestions import did_you_mean

KINDS = ("choice", "uniform", "loguniform", "int", "logint")
STEPPED = ("uniform", "int")
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
    return [_read_parameter(name, domain, report) for name, domain in value.items()]


def _read_parameter(name: str, value: object, report: Report) -> ParameterDraft:
    loc: Loc = ("space", name)
    when = value.get("when") if isinstance(value, dict) else None
    if name not in Hyperparameters.model_fields:
        report.at_key(loc, unknown_key(name, "space", Hyperparameters.model_fields))
        return ParameterDraft(name, None, when)
    if is_list(kind := field_type(Hyperparameters, name)):
        report.at_key(loc, f"{name} is {describe(kind)}, which cannot be searched; give trial.{name} instead")
        return ParameterDraft(name, None, when)
    reader = _DomainReader(name, report)
    if not isinstance(value, dict):
        return ParameterDraft(name, reader.constant(value))
    for key in value:
        if key not in (*KINDS, "step", "when"):
            report.at_key((*loc, key), unknown_key(key, f"space.{name}", (*KINDS, "step", "when")))
    if "when" in value and when is None:
        report.at_value((*loc, "when"), f"space.{name}.when has no value; name a parent, such as {{optimizer: sgd}}")
    return ParameterDraft(name, reader.domain(value), when)


class _DomainReader:
    """Read the domain of one hyperparameter; a fault makes it None."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._title = f"space.{name}"
        self._loc: Loc = ("space", name)
        self._kind = field_type(Hyperparameters, name)
        self._report = report

    def constant(self, value: object) -> Domain | None:
        """Read a plain value."""
        if isinstance(value, list):
            self._report.at_value(self._loc, f"{self._title} is a list; write {{choice: {show(value)}}}")
        elif value is None:
            self._report.at_value(self._loc, f"{self._title} has no value; give a constant or {_FORMS}")
        elif not admits(self._kind, value):
            self._report.at_value(self._loc, reject(self._title, self._kind, value))
        else:
            return Constant(value=self._typed(value))
        return None

    def domain(self, value: Tree) -> Domain | None:
        """Read the domain that a mapping names."""
        kinds = [key for key in value if key in KINDS]
        if not kinds:
            near = [key for key in value if did_you_mean(key, KINDS)]
            if not near:
                self._report.at_key(self._loc, f"{self._title} has no domain; give a constant or {_FORMS}")
            return None
        if len(kinds) > 1:
            message = f"{self._title} must have one domain, got {' and '.join(kinds)}; keep one of them"
            self._report.at_key((*self._loc, kinds[1]), message)
            return None
        if "step" in value and kinds[0] not in STEPPED:
            self._report.at_key(
                (*self._loc, "step"), f"{self._title}.step belongs to uniform and int, not to {kinds[0]}"
            )
        return self._choice(value["choice"]) if kinds[0] == "choice" else self._range(kinds[0], value)

    def _choice(self, values: object) -> Domain | None:
        loc = (*self._loc, "choice")
        if not isinstance(values, list):
            self._report.at_value(loc, f"{self._title}.choice must be a list of values, got {show(values)}")
            return None
        if not values:
            self._report.at_value(loc, f"{self._title}.choice must have at least one value, got []")
            return None
        good = [self._choice_item(at, values) for at in range(len(values))]
        return Choice(values=tuple(self._typed(item) for item in values)) if all(good) else None

    def _choice_item(self, at: int, values: list[Any]) -> bool:
        value, loc = values[at], (*self._loc, "choice", at)
        # Optuna compares choices by ==, for which 1, 1.0 and true are one value
        first = next((item for item in values[:at] if not isinstance(item, list | dict) and item == value), None)
        if value is None or not admits(self._kind, value):
            self._report.at_value(loc, reject(f"{self._title}.choice[{at}]", self._kind, value))
        elif first is not None:
            same = "twice" if show(first) == show(value) else f"as {show(first)} and as {show(value)}"
            self._report.at_value(loc, f"{self._title}.choice must not repeat a value, got {show(value)} {same}")
        else:
            return True
        return False

    def _range(self, kind: str, value: Tree) -> Domain | None:
        log, number = kind.startswith("log"), int if "int" in kind else float
        if not self._takes(kind, number) or (ends := self._ends(kind, value[kind], number, log)) is None:
            return None
        step = self._step(value, number, *ends) if kind in STEPPED else None
        if not self._range_admitted(kind, *ends, step or 1):
            return None
        if number is int:
            return Integer(low=ends[0], high=ends[1], step=step or 1, log=log)
        return Uniform(low=ends[0], high=ends[1], step=step, log=log)

    def _takes(self, kind: str, number: type) -> bool:
        """Whether the hyperparameter can be drawn from a range of this kind at all."""
        listed, numbers = listed_values(self._kind), numbers_of(self._kind)
        if number is int and listed is not None and any(type(item) is int for item in listed):
            return True
        if float in numbers or number in numbers:
            return True
        way_out = "use int or logint" if int in numbers else "use choice"
        message = f"{self._title} must be {describe(self._kind)}, so {kind} does not fit; {way_out}"
        self._report.at_key((*self._loc, kind), message)
        return False

    def _ends(self, kind: str, value: object, number: type, log: bool) -> tuple[Any, Any] | None:
        """Return low and high where both are numbers in order."""
        loc = (*self._loc, kind)
        if not isinstance(value, list) or len(value) != 2:
            self._report.at_value(loc, f"{self._title}.{kind} must be [low, high], got {show(value)}")
            return None
        good = [self._number(f"{self._title}.{end}", number, value[at], (*loc, at)) for at, end in enumerate(_ENDS)]
        if not all(good):
            return None
        low, high = value
        if low >= high:
            rule = f"{self._title}: `low < high` must hold, but got (low={show(low)}, high={show(high)})"
            self._report.at_value((*loc, 0), rule)
        if log and low <= 0:
            self._report.at_value((*loc, 0), f"{self._title}.low must be > 0 when the scale is log, got {show(low)}")
        return (low, high) if low < high and (low > 0 or not log) else None

    def _number(self, title: str, number: type, value: object, loc: Loc) -> bool:
        if admits(number, value):
            return True
        self._report.at_value(loc, reject(title, number, value))
        return False

    def _range_admitted(self, kind: str, low: Any, high: Any, step: Any) -> bool:
        """Whether the hyperparameter admits both ends, and where it lists its values all that are drawn."""
        if listed_values(self._kind) is None:
            good = True
            for at, (end, value) in enumerate(zip(_ENDS, (low, high), strict=True)):
                if not admits(self._kind, value):
                    self._report.at_value((*self._loc, kind, at), reject(f"{self._title}.{end}", self._kind, value))
                    good = False
            return good
        refused = next((value for value in range(low, high + 1, step) if not admits(self._kind, value)), None)
        if refused is not None:
            message = f"{self._title} must be {describe(self._kind)}, but {kind} gives {refused} too; use choice"
            self._report.at_value((*self._loc, kind), message)
        return refused is None

    def _step(self, value: Tree, number: type, low: Any, high: Any) -> Any:
        """Return the step, None where there is none or it has a fault."""
        if "step" not in value:
            return None
        step, loc, title = value["step"], (*self._loc, "step"), f"{self._title}.step"
        if not self._number(title, number, step, loc):
            return None
        if step <= 0:
            self._report.at_value(loc, f"{title} must be > 0, got {show(step)}")
            return None
        first, last, by = (Decimal(str(part)) for part in (low, high, step))
        if by > last - first:
            # in decimals, as people write them: in binary 0.0351 - 0.0001 is less than 0.035
            self._report.at_value(loc, f"{title} must be <= high - low = {last - first}, got {show(step)}")
            return None
        return step

    def _typed(self, value: Any) -> Scalar:
        """Return an int as a float where a real number is meant."""
        if float in numbers_of(self._kind) and type(value) is int:
            return float(value)
        typed: Scalar = value
        return typed

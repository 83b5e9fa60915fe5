"""Read `when`: the conditions under which a parameter exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from study.config.hyperparameters import Hyperparameters, Scalar
from study.config.search_space import Condition, Constant, Domain, Parameter, Uniform, same_value
from study.config_file.domains import ParameterDraft
from study.config_file.messages import show, show_bare
from study.config_file.yaml_document import Loc, Report
from study.designs.space import find_value, values_of
from study.utils.suggestions import did_you_mean

Requirements = dict[str, tuple[Scalar, ...]]


def link(drafts: Sequence[ParameterDraft], trial: Mapping[str, object], report: Report) -> tuple[Parameter, ...]:
    """Return every parameter with its conditions, parents before children, otherwise in file order.

    Args:
        drafts: the parameters in file order.
        trial: what the file's `trial` section fixes, for the message about a parent that is not searched.
        report: takes the faults; after one the result may be incomplete.
    """
    by_name = {draft.name: draft for draft in drafts}
    by_parameter = {draft.name: _Reader(draft, by_name, trial, report).conditions() for draft in drafts}
    if _report_cycles(by_parameter, report):
        return ()
    linked: dict[str, Parameter] = {}
    for name in _ordered(by_parameter):
        conditions, domain = by_parameter[name], by_name[name].domain
        lost = conditions is None or any(
            condition.parameter not in linked and by_name[condition.parameter].domain is not None
            for condition in conditions
        )
        if not lost and domain is not None:
            linked[name] = Parameter(name=name, domain=domain, when=conditions or ())
            _report_contradiction(name, linked, report)
    return tuple(linked.values())


def requirements(name: str, parameters: Mapping[str, Parameter]) -> Requirements:
    """Return what each ancestor must be where this parameter exists; an empty tuple is a contradiction."""
    needed: Requirements = {}
    for condition in parameters[name].when:
        above = requirements(condition.parameter, parameters) if condition.parameter in parameters else {}
        for parent, values in (*above.items(), (condition.parameter, condition.values)):
            before = needed.get(parent, values)
            needed[parent] = tuple(value for value in before if any(same_value(value, allowed) for allowed in values))
    return needed


class _Reader:
    """Read the conditions of one parameter."""

    def __init__(
        self, draft: ParameterDraft, drafts: Mapping[str, ParameterDraft], trial: Mapping[str, object], report: Report
    ) -> None:
        self._draft = draft
        self._drafts = drafts
        self._trial = trial
        self._report = report
        self._loc: Loc = ("space", draft.name, "when")
        self._title = f"space.{draft.name}.when"

    def conditions(self) -> tuple[Condition, ...] | None:
        """Return the valid conditions; None where a command-line option made them impossible."""
        when = self._draft.when
        if when is None:
            return ()
        if not isinstance(when, dict) or not when:
            rule = f"{self._title} must name a parent, such as {{optimizer: sgd}}"
            self._report.at_value(self._loc, f"{rule}, got {show(when)}")
            return ()
        read: list[Condition] = []
        for parent, wanted in when.items():
            values = self._values(parent, wanted)
            if values == () and self._overridden(parent):
                return None
            if values and not isinstance(self._drafts[parent].domain, Constant):
                read.append(Condition(parameter=parent, values=values))
        return tuple(read)

    def _overridden(self, parent: str) -> bool:
        """Whether a command-line option narrowed the parent, so that a child may be left out."""
        places = self._report.places
        return any(place.origin for loc, place in places.values.items() if loc[:2] == ("space", parent))

    def _values(self, parent: str, wanted: object) -> tuple[Scalar, ...]:
        """Return the wanted values that the parent can take, after reporting what is wrong with them."""
        loc = (*self._loc, parent)
        if not self._is_parent(parent, loc):
            return ()
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values:
            self._report.at_value(loc, f"{self._title}.{parent} must list at least one value, got []")
        domain = self._drafts[parent].domain
        if isinstance(domain, Uniform):
            message = f"{self._title} cannot ask for a value of `{parent}`: a continuous range has none to wait for"
            self._report.at_key(loc, f"{message}; make `{parent}` a choice, or condition on another one")
            return ()
        if domain is None:
            return ()
        places = [(*loc, at) for at in range(len(values))] if isinstance(wanted, list) else [loc]
        taken = [self._taken(parent, domain, value, place) for value, place in zip(values, places, strict=True)]
        return tuple(value for value in taken if value is not None)

    def _is_parent(self, parent: str, loc: Loc) -> bool:
        if parent == self._draft.name:
            self._report.at_key(loc, f"{self._title} must not ask for `{parent}` itself")
        elif parent in self._drafts:
            return True
        elif parent in Hyperparameters.model_fields:
            way = f"search it in space, or leave `{parent}` out of the condition"
            fixed = f"it is {show(self._trial[parent])} in trial" if parent in self._trial else "it has its default"
            self._report.at_key(loc, f"{self._title} asks for `{parent}`, which is not searched ({fixed}); {way}")
        else:
            known = [name for name in self._drafts if name != self._draft.name]
            message = f"{self._title} asks for `{parent}`, which is not searched{did_you_mean(parent, known)}"
            self._report.at_key(loc, f"{message} Searched: {', '.join(known) or 'nothing'}")
        return False

    def _taken(self, parent: str, domain: Domain, value: object, loc: Loc) -> Scalar | None:
        """Return the parent's own form of a value it can take."""
        taken = find_value(domain, value)
        if taken is None and not self._overridden(parent):
            possible = values_of(domain)
            near = did_you_mean(value, filter(_is_text, possible)) if isinstance(value, str) else ""
            rule = f"{self._title}.{parent} must be a value it can take ({_listed(possible)})"
            self._report.at_value(loc, f"{rule}, got {show(value)}{near}")
        return taken


def _is_text(value: Scalar) -> TypeGuard[str]:
    return isinstance(value, str)


def _listed(values: Sequence[Scalar]) -> str:
    shown = [show_bare(value) for value in values[:10]]
    return ", ".join(shown) + (f", ... {show_bare(values[-1])}" if len(values) > len(shown) else "")


Conditions = Mapping[str, tuple[Condition, ...] | None]


def _ordered(conditions: Conditions) -> list[str]:
    """Sort parents before children, the first in the file first; children in a cycle are left out."""
    done: list[str] = []
    waiting = list(conditions)
    while waiting:
        ready = next(
            (name for name in waiting if all(condition.parameter in done for condition in conditions[name] or ())), None
        )
        if ready is None:
            break
        done.append(ready)
        waiting.remove(ready)
    return done


def _report_cycles(conditions: Conditions, report: Report) -> bool:
    """Report each cycle once, at its first parameter in the file."""
    ordered = set(_ordered(conditions))
    seen: set[str] = set()
    for start in conditions:
        cycle = _cycle(start, conditions) if start not in ordered | seen else []
        if cycle and not seen & set(cycle):
            way = " -> ".join((*cycle, start))
            report.at_key(
                ("space", start, "when"), f"space.{start}.when is a circle: {way}; remove one of these conditions"
            )
            seen |= set(cycle)
    return bool(seen)


def _cycle(start: str, conditions: Conditions) -> list[str]:
    """Return the names from a parameter back to itself, or nothing."""
    paths = [[start]]
    visited: set[str] = set()
    while paths:
        path = paths.pop(0)
        for condition in conditions[path[-1]] or ():
            if condition.parameter == start:
                return path
            if condition.parameter not in visited:
                visited.add(condition.parameter)
                paths.append([*path, condition.parameter])
    return []


def _report_contradiction(name: str, linked: Mapping[str, Parameter], report: Report) -> None:
    impossible = [parent for parent, values in requirements(name, linked).items() if not values]
    if impossible:
        where = f"its conditions and its parents' ask `{impossible[0]}` for values that exclude each other"
        report.at_key(("space", name, "when"), f"space.{name} can never exist: {where}; remove one of them")

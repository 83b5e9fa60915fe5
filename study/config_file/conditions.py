"""Read `when`: the conditions under which a parameter exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import islice

from study.config.hyperparameters import Hyperparameters, Scalar
from study.config.search_space import Condition, Constant, Domain, Parameter, Uniform, same_value
from study.config_file.domains import ParameterDraft
from study.config_file.yaml_document import Loc, Report, dotted
from study.designs.space import find_value, parents_first, values_of
from study.utils.suggestions import did_you_mean
from study.utils.text import shorten, show, show_bare

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
    parents = {name: {condition.parameter for condition in read or ()} for name, read in by_parameter.items()}
    ordered = parents_first(parents)
    if len(ordered) < len(parents):
        _report_cycles(parents, report)
        return ()
    linked: dict[str, Parameter] = {}
    for name in ordered:
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
    known: dict[str, Requirements] = {}
    for parameter in parameters.values():  # parents come first
        needed = known[parameter.name] = {}
        for condition in parameter.when:
            above = known.get(condition.parameter, {})
            for parent, values in (*above.items(), (condition.parameter, condition.values)):
                before = needed.get(parent, values)
                needed[parent] = tuple(value for value in before if any(same_value(value, other) for other in values))
    return known[name]


@dataclass(frozen=True)
class _Reader:
    """Read the conditions of one parameter."""

    draft: ParameterDraft
    drafts: Mapping[str, ParameterDraft]
    trial: Mapping[str, object]
    report: Report

    @property
    def loc(self) -> Loc:
        """Where the conditions stand."""
        return ("space", self.draft.name, "when")

    @property
    def title(self) -> str:
        """What messages call them."""
        return dotted(self.loc)

    def conditions(self) -> tuple[Condition, ...] | None:
        """Return the valid conditions; None where a command-line option made them impossible."""
        when = self.draft.when
        if when is None:
            return ()
        if not isinstance(when, dict) or not when:
            rule = f"{self.title} must name a parent, such as {{optimizer: sgd}}"
            self.report.at_value(self.loc, f"{rule}, got {show(when)}")
            return ()
        read: list[Condition] = []
        for parent, wanted in when.items():
            values = self._values(parent, wanted)
            if values == () and self._overridden(parent):
                return None
            if values and not isinstance(self.drafts[parent].domain, Constant):
                read.append(Condition(parameter=parent, values=values))
        return tuple(read)

    def _overridden(self, parent: str) -> bool:
        """Whether a command-line option narrowed the parent, so that a child may be left out."""
        places = self.report.places
        return any(place.origin for loc, place in places.values.items() if loc[:2] == ("space", parent))

    def _values(self, parent: str, wanted: object) -> tuple[Scalar, ...]:
        """Return the wanted values that the parent can take, after reporting what is wrong with them."""
        loc = (*self.loc, parent)
        if not self._is_parent(parent, loc):
            return ()
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values:
            self.report.at_value(loc, f"{self.title}.{parent} must list at least one value, got []")
        domain = self.drafts[parent].domain
        if isinstance(domain, Uniform):
            message = f"{self.title} cannot ask for a value of `{parent}`: a continuous range has none to wait for"
            self.report.at_key(loc, f"{message}; make `{parent}` a choice, or condition on another one")
            return ()
        if domain is None:
            return ()
        places = [(*loc, at) for at in range(len(values))] if isinstance(wanted, list) else [loc]
        taken = [self._taken(parent, domain, value, place) for value, place in zip(values, places, strict=True)]
        return tuple(value for value in taken if value is not None)

    def _is_parent(self, parent: str, loc: Loc) -> bool:
        if parent == self.draft.name:
            self.report.at_key(loc, f"{self.title} must not ask for `{shorten(parent)}` itself")
        elif parent in self.drafts:
            return True
        elif parent in Hyperparameters.model_fields:
            way = f"search it in space, or leave `{parent}` out of the condition"
            fixed = f"it is {show(self.trial[parent])} in trial" if parent in self.trial else "it has its default"
            self.report.at_key(loc, f"{self.title} asks for `{parent}`, which is not searched ({fixed}); {way}")
        else:
            known = [name for name in self.drafts if name != self.draft.name]
            message = f"{self.title} asks for `{shorten(parent)}`, which is not searched{did_you_mean(parent, known)}"
            self.report.at_key(loc, f"{message} Searched: {', '.join(map(shorten, known)) or 'nothing'}")
        return False

    def _taken(self, parent: str, domain: Domain, value: object, loc: Loc) -> Scalar | None:
        """Return the parent's own form of a value it can take."""
        taken = find_value(domain, value)
        if taken is None and not self._overridden(parent):
            possible = values_of(domain)
            names = [name for name in possible if isinstance(name, str)] if isinstance(possible, tuple) else []
            near = did_you_mean(value, names) if isinstance(value, str) else ""
            shown = [show_bare(value) for value in islice(possible, 10)]
            more = f", ... {show_bare(possible[-1])}" if len(possible) > len(shown) else ""
            rule = f"{self.title}.{shorten(parent)} must be a value it can take ({', '.join(shown)}{more})"
            self.report.at_value(loc, f"{rule}, got {show(value)}{near}")
        return taken


def _report_cycles(parents: Mapping[str, set[str]], report: Report) -> None:
    """Report each cycle once, at its first parameter in the file."""
    in_file, left = list(parents), dict(parents)
    while True:
        try:
            TopologicalSorter(left).prepare()
            return
        except CycleError as exc:
            circle: list[str] = exc.args[1][:0:-1]
        first = circle.index(min(circle, key=in_file.index))
        circle = [*circle[first:], *circle[:first]]
        loc, way = ("space", circle[0], "when"), " -> ".join((*circle, circle[0]))
        report.at_key(loc, f"{dotted(loc)} is a circle: {way}; remove one of these conditions")
        left = {name: needed - {*circle} for name, needed in left.items() if name not in circle}


def _report_contradiction(name: str, linked: Mapping[str, Parameter], report: Report) -> None:
    impossible = [parent for parent, values in requirements(name, linked).items() if not values]
    if impossible:
        where = f"its conditions and its parents' ask `{impossible[0]}` for values that exclude each other"
        report.at_key(("space", name, "when"), f"space.{name} can never exist: {where}; remove one of them")

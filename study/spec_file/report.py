"""Collect the faults of a study file, each at its place."""

from __future__ import annotations

from study.errors import Fault
from study.spec_file.document import Loc, Place, Places


class Report:
    """The faults found so far; a fault stands at a value, or at its key where the key is what is wrong."""

    def __init__(self, places: Places, faults: list[Fault]) -> None:
        self.places = places
        self.faults = faults
        self._locs: list[Loc] = []

    def value(self, loc: Loc, message: str) -> None:
        """Add a fault of a value."""
        self._add(loc, self.places.value(loc), message)

    def key(self, loc: Loc, message: str) -> None:
        """Add a fault of a key."""
        self._add(loc, self.places.key(loc), message)

    def is_faulty(self, *loc: str | int) -> bool:
        """Whether a fault was found at this place, around it or below it."""
        return any(one[: len(loc)] == loc[: len(one)] for one in self._locs)

    def _add(self, loc: Loc, place: Place, message: str) -> None:
        self._locs.append(loc)
        text = f"{place.origin}: {message}" if place.origin else message
        self.faults.append(Fault(text, place.line, place.column))


def dotted(loc: Loc) -> str:
    """Write a place as people do: ``space.depth.choice[1]``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text

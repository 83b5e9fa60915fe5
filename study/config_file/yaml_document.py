"""Read YAML 1.2 into plain values, the place of each, and the faults in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from study.errors import Fault
from study.utils.text import shorten, show

Loc: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = dict[str, Any]

_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MOST_VALUES = 20_000
_MOST_DEPTH = 20
_MOST_CHARACTERS = 10_000
_MOST_BITS = 63
MOST_FAULTS = 100
_TOO_MANY = f"must have at most {_MOST_VALUES} values once its aliases are expanded"


@dataclass(frozen=True)
class Place:
    """Line and column count from 1; ``origin`` is the command-line option a value came from instead.

    ``written`` is a value without quotes as it stands there.
    """

    line: int = 0
    column: int = 0
    origin: str = ""
    written: str = ""


@dataclass
class Places:
    """Where each key and value of a document stands, by its path of keys and indices."""

    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)

    def value(self, loc: Loc) -> Place:
        """Return where the value stands, or else the nearest value around it."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values.get(loc, Place())

    def key(self, loc: Loc) -> Place:
        """Return where the key stands, or else the nearest value around it."""
        return self.keys.get(loc) or self.value(loc)

    def replace(self, loc: Loc, place: Place) -> None:
        """Set the place of a key, its value and everything below it."""
        for known in (self.values, self.keys):
            for path in [path for path in known if path[: len(loc)] == loc]:
                del known[path]
            known[loc] = place


@dataclass
class Document:
    """A YAML document as plain dicts, lists and scalars; unreadable parts are None and have a fault."""

    value: Any = None
    places: Places = field(default_factory=Places)
    faults: list[Fault] = field(default_factory=list)


def parse(text: str) -> Document:
    """Parse a YAML 1.2 document; faults of the text are in the result, not raised."""
    document = Document()
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    try:
        with warnings.catch_warnings(action="ignore"):  # an anchor may be used again
            node = yaml.compose(text)
        if node is not None:
            document.value = _NodeReader(yaml.constructor, document).read(node, ())
    except YAMLError as exc:
        document.faults.append(_syntax_fault(exc, text))
    except RecursionError:
        document.faults.append(Fault("is nested too deep for a study file", 1, 1))
    except _TooLargeError as exc:
        document.faults.append(Fault(str(exc), 1, 1))
    return document


class _TooLargeError(Exception):
    """The document has more values, or deeper ones, than any study file needs."""


class _Composer(Composer):
    """Stop reading a document that has too many nodes."""

    _seen = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read one node and all below it."""
        self._seen += 1
        if self._seen > _MOST_VALUES:
            raise _TooLargeError(_TOO_MANY)
        return super().compose_node(parent, index)


class _NodeReader:
    """Turn ruamel's nodes into plain values; aliases and merge keys become copies."""

    def __init__(self, constructor: Any, document: Document) -> None:
        self._constructor = constructor
        self._document = document
        self._open: set[int] = set()
        self._seen = 0

    def read(self, node: Node, loc: Loc) -> Any:
        """Return the value of a node and note its place."""
        self._count(loc)
        self._document.places.values[loc] = _place(node.start_mark)
        if isinstance(node, ScalarNode):
            if node.style is None:
                self._document.places.values[loc] = replace(_place(node.start_mark), written=node.value)
            return self._scalar(node)
        if not self._enter(node):
            return None
        try:
            if node.tag not in _PLAIN_TAGS:
                self._fault(node, f"tag {_short(node.tag)} is not understood; leave it out")
            if isinstance(node, SequenceNode):
                return [self.read(item, (*loc, at)) for at, item in enumerate(node.value)]
            return self._mapping(node, loc)
        finally:
            self._open.discard(id(node))

    def _count(self, loc: Loc = ()) -> None:
        self._seen += 1
        if self._seen > _MOST_VALUES:
            raise _TooLargeError(_TOO_MANY)
        if len(loc) > _MOST_DEPTH:
            raise _TooLargeError("is nested too deep for a study file")

    def _enter(self, node: Node) -> bool:
        if id(node) in self._open:
            self._fault(node, "an alias must not contain itself")
            return False
        self._open.add(id(node))
        return True

    def _scalar(self, node: ScalarNode) -> Any:
        if node.tag == _TIMESTAMP:
            return self._text(node)  # YAML 1.2's core schema knows no dates
        try:
            value = self._constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError, LookupError, OverflowError):
            way_out = "put it in quotes if it is text"
            self._fault(node, f"{show(node.value)} cannot be read as {_short(node.tag)}; {way_out}")
            return None
        if isinstance(value, str):
            return self._text(node)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            self._fault(node, f"a whole number must be between -2^63 and 2^63, got {shorten(node.value)}")
            return None
        if value is None or isinstance(value, bool | int | float):
            return value
        self._fault(node, f"tag {_short(node.tag)} is not understood; leave it out")
        return None

    def _text(self, node: ScalarNode) -> str | None:
        r"""Return the text of a node; two surrogates, such as ``\ud83d\ude42`` in JSON, are one character."""
        text = str(node.value)
        try:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._fault(node, f"a text must not hold half a character, got {show(text)}; write the whole character")
            return None
        if "\0" in text or len(text) > _MOST_CHARACTERS:
            rule = f"a text must have at most {_MOST_CHARACTERS} characters, none of them NUL"
            self._fault(node, f"{rule}, got {show(text)}")
            return None
        return text

    def _mapping(self, node: Node, loc: Loc) -> Tree:
        result: Tree = {}
        for key, key_node, value_node in self._pairs(node):
            self._document.places.keys[(*loc, key)] = _place(key_node.start_mark)
            result[key] = self.read(value_node, (*loc, key))
            if isinstance(value_node, ScalarNode) and value_node.start_mark.index == value_node.end_mark.index:
                # YAML places a missing value at whatever follows it
                self._document.places.values[(*loc, key)] = _place(key_node.start_mark)
        return result

    def _pairs(self, node: Node) -> list[tuple[str, Node, Node]]:
        """Return the pairs of a mapping, its own first, then merged ones that it does not override."""
        own: dict[str, tuple[str, Node, Node]] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            self._count()
            if not isinstance(key_node, ScalarNode):
                self._fault(key_node, "a key must be text, not a list or a mapping")
            elif key_node.tag == _MERGE:
                merges.append(value_node)
            elif (key := self._text(key_node)) is None:
                continue
            elif key in own:
                first = _place(own[key][1].start_mark)
                rule = f"duplicate key `{shorten(key)}`: it is already on line {first.line}"
                self._fault(key_node, f"{rule}; keep one of them")
            else:
                own[key] = (key, key_node, value_node)
        for merged in merges:
            for pair in self._merged(merged):
                own.setdefault(pair[0], pair)
        return list(own.values())

    def _merged(self, node: Node) -> Iterator[tuple[str, Node, Node]]:
        if isinstance(node, ScalarNode):
            self._fault(node, "`<<` must merge a mapping or a list of mappings, written as an alias such as *base")
        elif self._enter(node):
            try:
                if isinstance(node, MappingNode):
                    yield from self._pairs(node)
                else:
                    for item in node.value:
                        yield from self._merged(item)
            finally:
                self._open.discard(id(node))

    def _fault(self, node: Node, message: str) -> None:
        place = _place(node.start_mark)
        self._document.faults.append(Fault(message, place.line, place.column))


def _place(mark: StringMark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _short(tag: str | None) -> str:
    return shorten(str(tag).replace("tag:yaml.org,2002:", "!!"))


def _syntax_fault(exc: YAMLError, text: str) -> Fault:
    if isinstance(exc, MarkedYAMLError) and (mark := exc.problem_mark or exc.context_mark):
        what = " ".join(str(part) for part in (exc.context, exc.problem) if part)
        return Fault(f"is not YAML: {what}", mark.line + 1, mark.column + 1)
    if isinstance(exc, ReaderError):
        before = text[: exc.position]
        column = exc.position - (before.rfind("\n") + 1) + 1
        return Fault(f"is not YAML: character {show(exc.character)} is not allowed", before.count("\n") + 1, column)
    return Fault(f"is not YAML: {exc}", 1, 1)


class TooManyFaultsError(Exception):
    """There are more faults than anybody reads at once."""


class Report:
    """The faults reported so far, each at the place of a value or of a key.

    After the first ``MOST_FAULTS`` a further one raises ``TooManyFaultsError``.
    """

    def __init__(self, places: Places, faults: list[Fault]) -> None:
        self.places = places
        self.faults = faults
        self._locs: list[Loc] = []

    def at_value(self, loc: Loc, message: str) -> None:
        """Add a fault of a value."""
        self._add(loc, self.places.value(loc), message)

    def at_key(self, loc: Loc, message: str) -> None:
        """Add a fault of a key."""
        self._add(loc, self.places.key(loc), message)

    def written(self, loc: Loc) -> str:
        """Return a value without quotes as it stands in the file; nothing for any other."""
        place = self.places.values.get(loc)
        return place.written if place else ""

    def is_faulty(self, *loc: str | int) -> bool:
        """Whether there is a fault at this place, around it or below it."""
        return any(faulty[: len(loc)] == loc[: len(faulty)] for faulty in self._locs)

    def _add(self, loc: Loc, place: Place, message: str) -> None:
        if len(self.faults) >= MOST_FAULTS:
            raise TooManyFaultsError
        self._locs.append(loc)
        text = f"{place.origin}: {message}" if place.origin else message
        self.faults.append(Fault(text, place.line, place.column))


def dotted(loc: Loc) -> str:
    """Return a place as text, such as ``space.depth.choice[1]``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" if text else shorten(part)
    return text

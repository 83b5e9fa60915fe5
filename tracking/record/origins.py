"""Tell what code and machine each session of a study ran on, from the beginnings in its outbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from study.events import StudyStarted
from tracking.record.outbox import read_lines
from tracking.record.provenance import Provenance

_MARK = b'"kind":"StudyStarted"'
_MARK_WITHIN_BYTES = 64


@dataclass(frozen=True)
class Session:
    """A driver's run of the study; what is not known is left out of ``code`` and ``machine``.

    ``packages`` are those that results hang on, ``installed`` are all there were.
    """

    at_s: float
    code: Mapping[str, str]
    machine: Mapping[str, str]
    packages: Mapping[str, str]
    installed: Mapping[str, str]


def sessions(outbox: Path) -> list[Session]:
    """Return every session that the outbox tells of, the oldest first; none where there is no outbox."""
    offsets = []
    try:
        with outbox.open("rb") as file:
            at = 0
            for line in file:
                if _MARK in line[:_MARK_WITHIN_BYTES]:
                    offsets.append(at)
                at += len(line)
    except OSError:
        return []
    lines = (next(read_lines(outbox, offset), None) for offset in offsets)
    return [_session(one.event, one.provenance) for one in lines if one and isinstance(one.event, StudyStarted)]


def _session(event: StudyStarted, origin: Provenance | None) -> Session:
    machine = {"device": event.device, "slots": str(event.slots)}
    if origin is None:
        return Session(event.at_s, {}, machine, {}, {})
    code = {"commit": origin.commit, "changed": None if origin.dirty is None else str(origin.dirty).lower()}
    if origin.dirty and origin.code:
        code["code"] = origin.code
    return Session(
        event.at_s,
        {name: value for name, value in code.items() if value},
        {"host": origin.host, "user": origin.user, "system": origin.system, "python": origin.python, **machine},
        dict(origin.packages),
        dict(origin.installed),
    )

"""Keep what a journal adds up to in a file beside it: never a source of truth, thrown away where it does not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from study.index.columns import FIELDS, pack, unpack_column
from study.index.parsing import parse
from study.index.replay import LightTrial, Replay
from study.layout import write_atomic
from study.records import TrialRecord

VERSION = 1
_BLOCK_BYTES = 65_536


@dataclass
class Index:
    """An index as it was read: ``replay`` has no records of trials that ended, ``columns`` have them."""

    replay: Replay
    columns: dict[str, Any]


def load(path: Path, journal: BinaryIO) -> Index | None:
    """Return the index, None where it is damaged, of another version or of another journal.

    It fits a journal that begins and goes on, up to the index's offset, as the one it was made from.
    """
    try:
        head, body = path.read_bytes().split(b"\n", 1)
        told = json.loads(head)
        if told["version"] != _version() or told["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        if told["journal"] != _identity(journal, told["offset"]):
            return None
        found = parse(body)
        trials = {int(number): LightTrial(int(number), *one) for number, one in found["open"].items()}
        replay = Replay(
            found["name"], found["attrs"], settled=set(found["settled"]), open=trials,
            earlier=len(unpack_column(found["ended"]["trial"])), offset=told["offset"],
        )  # fmt: skip
        return Index(replay, found["ended"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def save(path: Path, journal: BinaryIO, replay: Replay, ended: Sequence[TrialRecord]) -> None:
    """Write the index, whole or not at all.

    Args:
        path: where.
        journal: what it is an index of.
        replay: what the journal adds up to.
        ended: the records of all trials that ended.

    Raises:
        OSError: the folder cannot be written.
    """
    body = json.dumps(
        {
            "name": replay.name,
            "attrs": replay.attrs,
            "settled": sorted(replay.settled),
            "open": {one.number: [one.state, one.user_attrs] for one in replay.open.values()},
            "ended": pack(ended),
        },
        separators=(",", ":"),
    ).encode()
    head = {
        "version": _version(),
        "sha256": hashlib.sha256(body).hexdigest(),
        "offset": replay.offset,
        "journal": _identity(journal, replay.offset),
    }
    write_atomic(path, lambda file: file.write(json.dumps(head).encode() + b"\n" + body), sync=False)


def _version() -> list[Any]:
    return [VERSION, list(FIELDS)]


def _identity(journal: BinaryIO, offset: int) -> str:
    """Return a hash of a journal's first bytes, which have the study's id, and of those before an offset.

    Raises:
        ValueError: the journal is shorter.
    """
    found = hashlib.sha256(str(offset).encode())
    for start in (0, max(0, offset - _BLOCK_BYTES)):
        journal.seek(start)
        block = journal.read(min(_BLOCK_BYTES, offset - start))
        if start + len(block) < min(offset, start + _BLOCK_BYTES):
            raise ValueError("the journal is shorter than its index says")
        found.update(block)
    return found.hexdigest()

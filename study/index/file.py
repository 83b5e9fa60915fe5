"""Keep what a journal adds up to in a file beside it: never a source of truth, thrown away where it does not fit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from study.index.columns import FIELDS, pack, unpack_column
from study.index.parsing import parse
from study.index.replay import LightTrial, Replay
from study.layout import write_atomic
from study.records import TrialRecord

VERSION = 2
_BLOCK_BYTES = 1 << 20


@dataclass
class Index:
    """An index as it was read: ``replay`` has no records of trials that ended, ``columns`` have them."""

    replay: Replay
    columns: dict[str, Any]


class Contents:
    """What a journal has, compared by a hash of it; ``stamp`` tells without one that nobody has written to it since."""

    def __init__(self, journal: BinaryIO) -> None:
        """Look at the file before anything is read of it, so that no later change goes unseen."""
        status = os.fstat(journal.fileno())
        self.stamp = [status.st_ino, status.st_mtime_ns, status.st_size]
        self._journal = journal
        self._hash = hashlib.sha256()
        self._at = 0

    def hash_to(self, offset: int) -> str:
        """Return a hash of the bytes before an offset; going on from an earlier one costs only what lies between.

        Raises:
            ValueError: the journal is shorter.
        """
        if offset < self._at:
            self._hash, self._at = hashlib.sha256(), 0
        self._journal.seek(self._at)
        while self._at < offset:
            block = self._journal.read(min(_BLOCK_BYTES, offset - self._at))
            if not block:
                raise ValueError("the journal is shorter than its index says")
            self._hash.update(block)
            self._at += len(block)
        return self._hash.hexdigest()


def load(path: Path, journal: Contents) -> Index | None:
    """Return the index, None where it is damaged, of another version or of another journal.

    It fits a journal that is, up to the index's offset, the one it was made from.
    """
    try:
        head, body = path.read_bytes().split(b"\n", 1)
        told = json.loads(head)
        if told["version"] != _version() or told["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        if told["stamp"] != journal.stamp and told["journal"] != journal.hash_to(told["offset"]):
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


def save(path: Path, journal: Contents, replay: Replay, ended: Sequence[TrialRecord]) -> None:
    """Write the index, whole or not at all.

    Args:
        path: where.
        journal: what it is an index of.
        replay: what the journal adds up to.
        ended: the records of all trials that ended.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the journal was cut meanwhile.
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
        "stamp": journal.stamp,
        "journal": journal.hash_to(replay.offset),
    }
    write_atomic(path, lambda file: file.write(json.dumps(head).encode() + b"\n" + body), sync=False)


def _version() -> list[Any]:
    return [VERSION, list(FIELDS)]

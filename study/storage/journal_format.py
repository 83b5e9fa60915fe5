"""The lines of a study's journal as Optuna's journal storage writes and reads them; imports nothing of Optuna."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

from pydantic_core import from_json

FOLLOWED = "followed"
"""Key of a line of a batch that is not its last: Optuna ignores it, whoever cuts a torn batch does not."""
FOLLOWED_END = f',"{FOLLOWED}":true}}\n'.encode()
"""How such a line ends."""


class Operation(IntEnum):
    """The operations of a journal by their ``op_code``, as Optuna 5.0.0 numbers them (its ``JournalOperation``)."""

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    SET_STUDY_USER_ATTR = 2
    SET_STUDY_SYSTEM_ATTR = 3
    CREATE_TRIAL = 4
    SET_TRIAL_PARAM = 5
    SET_TRIAL_STATE_VALUES = 6
    SET_TRIAL_INTERMEDIATE_VALUE = 7
    SET_TRIAL_USER_ATTR = 8
    SET_TRIAL_SYSTEM_ATTR = 9
    DISCARD_TRIALS = 10


def format_batch(logs: list[dict[str, Any]]) -> bytes:
    """Return the lines of logs that count together or not at all."""
    marked = [*({**log, FOLLOWED: True} for log in logs[:-1]), logs[-1]]
    return "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in marked).encode()


def parse_line(line: bytes) -> Any:
    """Return the value of a JSON text, NaN and infinities included.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return from_json(line)
    except ValueError:  # it refuses lone surrogates, which file names may have
        return json.loads(line)


def split_lines(content: bytes) -> list[bytes]:
    """Return the lines of a journal, without a torn line or batch that a kill or a power cut left at its end."""
    return content[: whole_length(content)].splitlines(keepends=True)


def whole_length(content: bytes) -> int:
    """Return how many bytes of a journal end with a whole batch; nobody relied on what is after them."""
    length = content.rfind(b"\n") + 1
    while length:
        begin = content.rfind(b"\n", 0, length - 1) + 1
        if _ends_batch(content[begin:length]):
            break
        length = begin
    return length


def _ends_batch(line: bytes) -> bool:
    try:
        return FOLLOWED not in parse_line(line)
    except (ValueError, TypeError):
        return False

"""The card of a selected checkpoint, and whether a folder holds the checkpoint of a trial; imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study.files import open_inside, read_inside
from study.paths import CARD, SCORES, WEIGHTS
from study.records import TrialRecord

FORMAT = 1


@dataclass(frozen=True)
class CheckpointCard:
    """The description of a selected checkpoint, so that it can be used without its study.

    ``preprocessing`` holds image_size_px, resize (in words), resize_mode, mean and std, and where it is known how faces
    lay in the images ``framing`` (`study.data.framing`); ``metrics`` are those of ``epoch``; ``precision`` and
    ``device`` (cpu or cuda) produced its validation scores; ``weights_sha256`` is empty in cards of versions that had
    none.
    """

    depth: int
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    epoch: int
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    data_fingerprint: str
    precision: str
    device: str = "cpu"
    weights_sha256: str = ""
    format: int = FORMAT

    def as_json(self) -> str:
        """Return the card as JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_card(folder: Path) -> CheckpointCard:
    """Read the card of a selected checkpoint.

    Raises:
        OSError: the folder is missing or not readable.
        ValueError: the card is damaged, or has another format.
    """
    return parse_card(read_inside(folder / CARD, folder).decode(), str(folder / CARD))


def parse_card(text: str, name: str) -> CheckpointCard:
    """Parse a card's JSON.

    Raises:
        ValueError: it is damaged, or has another format.
    """
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    card_format = card.get("format") if isinstance(card, dict) else None
    if card_format != FORMAT:
        raise ValueError(f"checkpoint format must be {FORMAT}, but {name} says {card_format}")
    try:
        parsed = CheckpointCard(**{**card, "classes": tuple(card["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    maps = (parsed.preprocessing, parsed.metrics, parsed.config)
    if not all(isinstance(each, dict) for each in maps) or not all(isinstance(each, str) for each in parsed.classes):
        raise ValueError(f"{name} is damaged: a value has another type than a card's")
    return parsed


def checkpoint_fault(folder: Path, record: TrialRecord, fingerprint: str) -> str | None:
    """Return why a folder does not hold a trial's selected checkpoint, whole and unchanged; None where it does.

    Args:
        folder: of this machine.
        record: the trial.
        fingerprint: of the data its study runs on.
    """
    try:
        card = read_card(folder)
        if foreign := _differing(card, record, fingerprint):
            return f"is of another trial or study: its {foreign} differs"
        with open_inside(folder / WEIGHTS, folder) as weights:
            digest, size = hashlib.file_digest(weights, "sha256").hexdigest(), weights.tell()
        if not size or (card.weights_sha256 and digest != card.weights_sha256):
            return f"is damaged: the bytes of {WEIGHTS} are not those that were written"
        open_inside(folder / SCORES, folder).close()
    except FileNotFoundError as error:
        return f"is gone: there is no {Path(error.filename).name}" if folder.is_dir() else "is gone"
    except (OSError, ValueError) as error:
        return f"cannot be used: {error}"
    return None


def _differing(card: CheckpointCard, record: TrialRecord, fingerprint: str) -> str | None:
    """Return what of a card is not a trial's: each value it has in common with the record, to the last bit."""
    if card.epoch != record.epoch:
        return "epoch"
    if card.data_fingerprint != fingerprint:
        return "data"
    pairs: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("configuration", card.config, record.config), ("score", card.metrics, record.metrics),
    )  # fmt: skip
    for what, mine, theirs in pairs:
        if not all(_is_same(mine[name], theirs[name]) for name in mine.keys() & theirs.keys()):
            return what
    return None


def _is_same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, list | tuple) and isinstance(theirs, list | tuple):
        return list(mine) == list(theirs)
    both_nan = isinstance(mine, float) and isinstance(theirs, float) and math.isnan(mine) and math.isnan(theirs)
    return both_nan or bool(mine == theirs)

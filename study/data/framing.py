"""How faces lie in the pictures of a data folder: kept beside them, carried into checkpoints for prediction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from study.errors import DataError
from study.files import write_text_atomic

FRAMING_FILE = "framing.json"
FORMAT = 1
MOST_BYTES = 10_000
FramingKind = Literal["eyes", "box"]
Masks = Literal["photographed", "drawn"]


@dataclass(frozen=True)
class Framing:
    """How a square picture is cut around a face; lengths are fractions of its side.

    ``eyes`` levels the face: the middle of eyes and mouth lies at (``x``, ``y``) from the upper left corner, and the
    eyes' middle is ``span`` above the mouth's. ``box`` leaves it as it is: the longer side of the detector's box is
    the side, widened by ``margin`` of it on each side. ``masks`` says whether the masks in the pictures were drawn.
    The defaults are those of the built-in faces.
    """

    kind: FramingKind = "eyes"
    span: float = 0.245
    x: float = 0.50
    y: float = 0.59
    margin: float = 0.0
    masks: Masks = "photographed"

    def as_dict(self) -> dict[str, Any]:
        """Return the framing as it stands in files."""
        return {"format": FORMAT, **asdict(self)}


def parse_framing(stored: object, place: str) -> Framing:
    """Return a framing from its stored form.

    Raises:
        DataError: it is damaged, or of another version; the message begins with ``place``.
    """
    if not isinstance(stored, Mapping) or stored.get("format") != FORMAT:
        raise DataError(f"{place} must be a framing of format {FORMAT}, but is not; make it again, or remove it")
    names = {field.name for field in fields(Framing)}
    values = {name: value for name, value in stored.items() if name != "format"}
    numbers: list[Any] = [values.get(name) for name in ("span", "x", "y", "margin")]
    if set(values) != names or values["kind"] not in get_args(FramingKind) or values["masks"] not in get_args(Masks):
        raise DataError(f"{place} must have {', '.join(sorted(names))}, but is damaged; make it again, or remove it")
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise DataError(f"{place} must have finite numbers, got {numbers}; make it again, or remove it")
    framing = Framing(**values)
    if not (0 < framing.span < 1 and 0 <= framing.x <= 1 and 0 <= framing.y <= 1 and 0 <= framing.margin <= 10):
        raise DataError(
            f"{place} must have 0 < span < 1, x and y in [0, 1] and margin in [0, 10], got {numbers}; make it again"
        )
    return framing


def read_framing(folder: Path) -> Framing | None:
    """Return the framing that lies beside the pictures of a folder; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / FRAMING_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            stored = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise DataError(f"{path} must be a framing, but cannot be read: {exc}; make it again, or remove it") from exc
    return parse_framing(stored, str(path))


def write_framing(folder: Path, framing: Framing) -> None:
    """Write the framing beside the pictures of a folder."""
    write_text_atomic(folder / FRAMING_FILE, json.dumps(framing.as_dict(), indent=2) + "\n")

"""The files of a bundle and their SHA-256 sums, which are checked before anything in them is used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.errors import BundleError
from study.files import OutsideError, open_inside, read_inside, write_text_atomic
from study.paths import WEIGHTS

CONFIG, CARD, METRICS = "config.json", "MODEL_CARD.md", "metrics.json"
ONNX_MODEL, GRAPH = "model.onnx", "model.pt2"
PREDICT, REPRODUCE = "predict.py", "reproduce.yaml"
README = "README.md"
"""The card once more, under the name that hubs show."""
SUMS = "SHA256SUMS"
"""In the form of ``sha256sum``, which can check it too."""
MODELS: Mapping[str, str] = {"safetensors": WEIGHTS, "onnx": ONNX_MODEL, "pt2": GRAPH}
"""The file of each format a model may be in."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle whose sums were right when it was opened; ``sums`` are their SHA-256 by name."""

    folder: Path
    sums: Mapping[str, str]

    @classmethod
    def open(cls, folder: Path) -> BundleFiles:
        """Check every file of a bundle by its sum.

        Raises:
            BundleError: it is no bundle, or a file is missing, has changed or leads out of the folder.
        """
        files = cls(folder, read_sums(folder))
        for name, expected in files.sums.items():
            with _translated(folder / name), open_inside(folder / name, folder) as file:
                _require_same(folder, name, hashlib.file_digest(file, "sha256").hexdigest(), expected)
        return files

    def read(self, name: str) -> bytes:
        """Return the contents of a file, checked again, since it may have changed after it was opened.

        Raises:
            BundleError: the bundle has no such file, or it has changed.
        """
        if name not in self.sums:
            listed = ", ".join(self.sums)
            again = "".join(f"; export it again with --formats {form}" for form, file in MODELS.items() if file == name)
            raise BundleError(f"{self.folder} must hold {name}, but its {SUMS} has none; it lists {listed}{again}")
        with _translated(self.folder / name):
            contents = read_inside(self.folder / name, self.folder)
        _require_same(self.folder, name, hashlib.sha256(contents).hexdigest(), self.sums[name])
        return contents


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a bundle by their names.

    Raises:
        BundleError: there are none, or a name could lead out of the folder.
    """
    if not folder.is_dir():
        raise BundleError(f"a bundle is a folder that `study export-best` wrote, but {folder} is none")
    if os.path.lexists(folder / CONFIG) and not os.path.lexists(folder / SUMS):
        raise BundleError(
            f"a bundle must hold {SUMS}, but {folder / SUMS} is missing: it was lost, or `study export-best` of an "
            "earlier version wrote the bundle; export it again"
        )
    with _translated(folder / SUMS):
        lines = read_inside(folder / SUMS, folder).decode("utf-8").splitlines()
    sums: dict[str, str] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{folder / SUMS} is damaged: a line must be a SHA-256 and a name, but is {line[:100]!r}")
        name = match[2]
        if name in (".", "..", SUMS) or any(separator in name for separator in "/\\\0"):
            raise BundleError(f"{folder / SUMS} must name files of its own folder, but names {name!r}")
        sums[name] = match[1]
    if CONFIG not in sums:
        raise BundleError(f"{folder / SUMS} must list {CONFIG}, but does not; export the bundle again")
    return sums


def write_sums(folder: Path) -> None:
    """Write the sums of all files of a folder."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    write_text_atomic(folder / SUMS, "".join(lines))


def unlisted(files: BundleFiles) -> list[str]:
    """Return what lies in a bundle's folder without a sum, sorted by name."""
    return sorted({path.name for path in files.folder.iterdir()} - {*files.sums, SUMS})


def _require_same(folder: Path, name: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise BundleError(
            f"{folder / name} must be as it was exported, but its SHA-256 differs from that in {SUMS}: it is damaged "
            "or was changed; get the bundle again, or export it again"
        )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into a BundleError."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f"a bundle must hold {path.name}, but {path} is missing") from error
    except OutsideError as error:
        raise BundleError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {path}: {error}") from error

"""Files of weights from anywhere: found, recognised by how they begin, and read as a state dict; imports torch late."""

from __future__ import annotations

import re
import zipfile
from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.errors import WeightsError
from study.paths import WEIGHTS
from study.utils.text import printable

if TYPE_CHECKING:
    import torch

FORMS = "a checkpoint's folder, a trial's folder, an exported bundle, or a .safetensors, .pt or .pth file"
_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
           "ema_state_dict", "state_dict_ema", "model_ema", "ema")  # fmt: skip
"""Keys under which checkpoints keep a state dict, the first found counts: trained weights before their average."""
_BOOKKEEPING = ("n_averaged",)  # of torch's AveragedModel, beside `module.`
MOST_NESTING = 4
SHOWN_KEYS = 8
_HEADER_LENGTH_BYTES = 8
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|[Uu]nsupported (?:global|class) (?:GLOBAL )?([\w.]+)")


@dataclass(frozen=True)
class FoundWeights:
    """A state dict, and where in its file it lay and what was changed, in words; empty where it was as it is."""

    tensors: Mapping[str, torch.Tensor]
    note: str = ""


def find_weights(path: Path) -> Path:
    """Return the file with the weights of a path, without opening it.

    Raises:
        WeightsError: there is none.
    """
    candidates = [path, path / WEIGHTS, *(folder / WEIGHTS for folder in sorted(path.glob("epoch-*"), reverse=True))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise WeightsError(f"{printable(str(path))} must be {FORMS}, but there is no {WEIGHTS} in it; check the path")


def require_weights_file(path: Path) -> None:
    """Refuse what cannot hold weights, by the first bytes of its file and without torch.

    Raises:
        WeightsError: there is no file, it cannot be read, or it is something else.
    """
    file = find_weights(path)
    try:
        with file.open("rb") as opened:
            beginning = opened.read(512)
        fault = _other_than_weights(file, beginning)
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        raise _unreadable(file, fault)


def read_weights(path: Path, layers: Collection[str] = ()) -> FoundWeights:
    """Read a state dict, wherever it lies in a file, without the prefixes that all its names share.

    Nothing of a file is run: torch reads it with ``weights_only``.

    Args:
        path: a folder that holds ``model.safetensors`` itself or in its newest ``epoch-*``, or a file.
        layers: names of the model, which decide how many prefixes go.

    Raises:
        WeightsError: there are no weights, or they cannot be read.
    """
    from safetensors.torch import load_file

    file = find_weights(path)
    require_weights_file(file)
    try:
        stored = load_file(file) if _is_safetensors(file) else _load_pickled(file)
    except Exception as error:  # a damaged file can raise anything
        raise _unreadable(file, _reason(error)) from error
    tensors, place = _find_state_dict(file, stored)
    tensors, prefix = _without_prefixes(tensors, layers)
    floats = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point() and tensor.element_size() != 4}
    others = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in floats))
    changes = (
        f"the weights lie under `{'.'.join(place)}`" if place else "",
        f"the prefix `{prefix}` of all names is left out" if prefix else "",
        f"{others} becomes float32" if others else "",
    )
    return FoundWeights(tensors, printable(", ".join(filter(None, changes))))


def _unreadable(file: Path, fault: str) -> WeightsError:
    return WeightsError(f"{printable(str(file))} cannot be read as weights: {fault}")


def _other_than_weights(file: Path, beginning: bytes) -> str | None:
    """Say what a file is, or None where it may hold weights."""
    text = beginning.lstrip().lower()
    if not beginning:
        return "it is empty; copy or download it again"
    if beginning.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; get the file with `git lfs pull`"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "it is a web page; download the file itself, perhaps after logging in"
    if text.startswith((b"{", b"[")) and not _is_safetensors(file):
        return "it is JSON text, such as a server's error or an index of several files; name the file of weights itself"
    if beginning.startswith(b"\x89HDF"):
        return "it is an HDF5 file, as Keras writes it; only torch's and safetensors' files are read"
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
        if "constants.pkl" in members:
            return "it is a TorchScript program; save the weights alone with torch.save(model.state_dict(), FILE)"
        if "data.pkl" not in members:
            return "it is a ZIP archive, but none that torch.save wrote; unpack it, or name the file of weights itself"
    return None


def _is_safetensors(file: Path) -> bool:
    """Whether a file has the header of safetensors, whatever it is called; one so called must have it."""
    if file.suffix == ".safetensors":
        return True
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_HEADER_LENGTH_BYTES), "little")
        return opened.read(1) == b"{" and length < file.stat().st_size


def _load_pickled(file: Path) -> object:
    import torch

    with torch.serialization.safe_globals([Namespace]):  # the settings that many checkpoints keep: data, no code
        return torch.load(file, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """Say why in one line; torch's own words end in the advice to run whatever the file holds."""
    text = str(error)
    if match := _GLOBAL.search(text):
        name = next(filter(None, match.groups()))
        if name.startswith("numpy"):
            return "it holds NumPy arrays; save tensors, such as torch.from_numpy(array), as a state dict"
        return (
            f"it holds objects besides tensors ({name}), such as a whole model; unpickling them could run any code. "
            "Where it comes from, save the state dict alone: torch.save(model.state_dict(), FILE)"
        )
    first = re.split(r"[\n.;]", text.strip(), maxsplit=1)[0][:120]
    advice = not first or "weights_only" in text or "weights only" in text.lower()
    return f"it is damaged, cut off, or no file of weights ({type(error).__name__ if advice else printable(first)})"


def _find_state_dict(file: Path, stored: object) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return the tensors by name, and the keys under which they lay."""
    import torch

    place: tuple[str, ...] = ()
    while isinstance(stored, Mapping) and len(place) < MOST_NESTING:
        nested = {key: value for key, value in stored.items() if _has_tensors(value)}
        tensors = {str(name): value for name, value in stored.items() if isinstance(value, torch.Tensor)}
        key = next((key for key in _NESTED if key in nested), None)
        if key is None and tensors:
            return tensors, place
        if key is None and len(nested) == 1:
            key = next(iter(nested))
        if key is None:
            keys = ", ".join(map(str, stored)) if len(stored) <= SHOWN_KEYS else f"{len(stored)} keys"
            several = f"state dicts under {', '.join(map(str, nested))}" if nested else keys or "nothing"
            raise _unreadable(file, f"it must hold a state dict: names and tensors, but it holds {printable(several)}")
        stored, place = stored[key], (*place, str(key))
    raise _unreadable(file, f"it must hold a state dict: names and tensors, but it holds a {type(stored).__name__}")


def _has_tensors(value: Any, depth: int = 0) -> bool:
    """Whether a value is a state dict or holds one."""
    import torch

    if not isinstance(value, Mapping) or depth > MOST_NESTING:
        return False
    named = {key: inner for key, inner in value.items() if isinstance(key, str)}
    return any(isinstance(inner, torch.Tensor) or _has_tensors(inner, depth + 1) for inner in named.values())


def _without_prefixes(tensors: dict[str, torch.Tensor], layers: Collection[str]) -> tuple[dict[str, torch.Tensor], str]:
    """Take off the leading parts that all names share, as many as make most names those of the model."""
    tensors = {name: tensor for name, tensor in tensors.items() if name not in _BOOKKEEPING}
    own, forms, prefix = set(layers), [(tensors, "")], ""
    while len(first := {name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        (part,) = first
        prefix += f"{part}."
        tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        forms.append((tensors, prefix))
    if not own:
        return forms[-1]
    return max(forms, key=lambda form: (len(own & form[0].keys()), -len(form[1])))

"""The weights of a trial that never change: which they are, and a file of weights that holds them first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import nn

from study.files import sync_file, write_atomic
from study.training.models.architectures import frozen_parts

_DTYPES = {
    torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""As the safetensors format calls them."""
_ALIGNMENT = 8


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: Any, /) -> None:
        """Hash more bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""

    def copy(self) -> Digest:
        """Return one that can go on separately."""


@dataclass(frozen=True)
class FrozenWeights:
    """Names and digest of the tensors of a model, batch norms' statistics included, that its training leaves alone."""

    model: nn.Module
    names: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module, freeze: str) -> FrozenWeights:
        """Return those of a freeze policy."""
        parts = frozen_parts(model, freeze)
        tensors = {id(tensor) for part in parts for tensor in (*part.parameters(), *part.buffers())}
        state = model.state_dict(keep_vars=True)
        return cls(model, frozenset(name for name, tensor in state.items() if id(tensor) in tensors))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of names and values; empty where nothing is frozen."""
        if not self.names:
            return ""
        digest = hashlib.sha256()
        add_tensors(digest, self.state())
        return digest.hexdigest()

    def state(self) -> dict[str, torch.Tensor]:
        """Return the frozen tensors."""
        return {name: tensor for name, tensor in self.model.state_dict().items() if name in self.names}

    def without(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a state of the model without the frozen tensors."""
        return {name: tensor for name, tensor in state.items() if name not in self.names}


def add_tensors(digest: Digest, tensors: Mapping[str, torch.Tensor]) -> None:
    """Hash names, types, shapes and values."""
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor))


class WeightsWriter:
    """Writes the weights of a trial's selected checkpoints, of which there is one at a time.

    Most bytes of a network with a frozen backbone are the same in every checkpoint. They are written once: the file
    of the checkpoint before is moved, and only what follows them is overwritten. A file that is not as this writer
    left it, or has another link, is written anew.
    """

    def __init__(self) -> None:
        self._path: Path | None = None  # of the checkpoint written last
        self._state: tuple[int, ...] = ()
        self._header = b""
        self._digest: Digest = hashlib.sha256()  # of header and frozen tensors
        self._whole_digest: Digest = hashlib.sha256()
        self._frozen_end = 0

    def take(self, target: Path) -> None:
        """Move the file of the checkpoint before to ``target`` if ``write`` can use it there."""
        if self._path is not None and _state_of(self._path) == self._state:
            os.replace(self._path, target)
        self._path = None

    def write(self, target: Path, weights: Mapping[str, torch.Tensor], frozen: frozenset[str], final: Path) -> str:
        """Write weights as a safetensors file and return its SHA-256.

        Args:
            target: the file; what ``take`` moved there, or nothing.
            weights: of the whole model.
            frozen: names of those that are the same in every call.
            final: where the file will be when ``take`` is called.
        """
        first, rest = _ordered(weights, frozen), _ordered(weights, weights.keys() - frozen)
        if sum(tensor.nbytes for tensor in first.values()) % _ALIGNMENT:
            first, rest = {}, _ordered(weights, weights)
        header = _header({**first, **rest})

        def write_whole(file: BinaryIO) -> None:
            self._begin(file, header, first)
            self._finish(file, rest)

        if target.exists() and header == self._header:
            with target.open("r+b") as file:
                file.seek(self._frozen_end)
                self._finish(file, rest)
                sync_file(file)
        else:
            write_atomic(target, write_whole)
        if first:
            self._path, self._state = final, _state_of(target)
        return self._whole_digest.hexdigest()

    def _begin(self, file: BinaryIO, header: bytes, frozen: Mapping[str, torch.Tensor]) -> None:
        file.write(header)
        self._header, self._digest = header, hashlib.sha256(header)
        _write_tensors(file, frozen, self._digest)
        self._frozen_end = file.tell()

    def _finish(self, file: BinaryIO, changing: Mapping[str, torch.Tensor]) -> None:
        self._whole_digest = self._digest.copy()
        _write_tensors(file, changing, self._whole_digest)


def _write_tensors(file: BinaryIO, tensors: Mapping[str, torch.Tensor], digest: Digest) -> None:
    """Write and hash one tensor after the other, each while it is in the processor's caches."""
    for tensor in tensors.values():
        block = _bytes_of(tensor)
        digest.update(block)
        file.write(block)


def _ordered(weights: Mapping[str, torch.Tensor], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return tensors in the order of a file, in which the wider types come first so that all are aligned."""
    ordered = sorted(names & weights.keys(), key=lambda name: (-weights[name].itemsize, name))
    return {name: weights[name] for name in ordered}


def _header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the beginning of a safetensors file: the length of a JSON object as u64, then the object."""
    entries, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _state_of(path: Path) -> tuple[int, ...]:
    """Return what tells a file that nobody else changed or linked; empty if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_nlink

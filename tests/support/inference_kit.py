"""A classifier that needs no model, pictures that it knows, and a service of it over HTTP."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.data.decode import decode_image
from study.data.framing import Framing
from study.inference.server import Limits, make_server, open_socket
from study.inference.service import InferenceService

SIZE = 8
DARK_AND_BRIGHT = ("dark", "bright")


@dataclass
class Brightness:
    """Calls a picture by its mean of red; waits where a test asks it to."""

    classes: tuple[str, ...] = DARK_AND_BRIGHT
    threshold: float | None = 0.25
    decode_s: float = 0.0
    may_decode: threading.Event = field(default_factory=threading.Event)
    may_classify: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    decoding: list[int] = field(default_factory=lambda: [0, 0])
    """How many decode now, and the most that did."""
    fails: bool = False

    def __post_init__(self) -> None:
        self.may_decode.set()
        self.may_classify.set()
        self._lock = threading.Lock()

    def preprocess(self, source: Path | bytes) -> NDArray[np.uint8]:
        with self._lock:
            self.decoding[0] += 1
            self.decoding[1] = max(self.decoding)
        try:
            time.sleep(self.decode_s)
            self.may_decode.wait(60)
            return decode_image(source, SIZE)
        finally:
            with self._lock:
                self.decoding[0] -= 1

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        self.may_classify.wait(60)
        if self.fails:
            raise RuntimeError("no memory left")
        red = batch[..., 0].mean(axis=(1, 2), dtype=np.float64) / 255
        if len(self.classes) == 2:
            return red.astype(np.float32)
        share = np.eye(len(self.classes))[np.minimum((red * len(self.classes)).astype(int), len(self.classes) - 1)]
        return (0.7 * share + 0.3 / len(self.classes)).astype(np.float32)

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        if probabilities.ndim == 1:
            return (probabilities > self.threshold).astype(np.int64)
        return probabilities.argmax(axis=1).astype(np.int64)


class FramedBrightness(Brightness):
    """Calls a face by its mean of red, as a bundle that says how faces lie in its pictures, or does not."""

    def __init__(self, framing: Framing | None) -> None:
        super().__init__(threshold=0.5)
        self.config = SimpleNamespace(image_size_px=SIZE, resize="crop")
        self.preprocessing = {} if framing is None else {"framing": framing.as_dict()}


def picture(level: int, kind: str = "PNG", size: tuple[int, int] = (12, 12)) -> bytes:
    """Return a picture file of one grey level."""
    with io.BytesIO() as file:
        Image.new("RGB", size, (level, level, level)).save(file, kind)
        return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose head names a size that its pixels do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class Served:
    """A service that listens on a port of this machine."""

    service: InferenceService
    port: int

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def predict(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        response, answer = self.request("POST", "/predict", body, headers)
        return response.status, json.loads(answer)


@contextmanager
def served(classifier: Brightness, limits: Limits | None = None, **options: Any) -> Iterator[Served]:
    """Serve a classifier in a thread of this process."""
    with open_socket("127.0.0.1", 0) as listening, InferenceService(classifier, **options) as service:
        server, port = make_server(service, "fake", limits), listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(service, port)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()

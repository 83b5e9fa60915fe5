"""Take the picture out of an HTTP request, raw or as multipart, without keeping more than may be kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from study.errors import DataError

MAX_BODY_BYTES = 20_000_000
MAX_HELD_BYTES = 256_000_000
_MOST_FIELDS = 16


class BodyTooLargeError(Exception):
    """A body has more than MAX_BODY_BYTES."""


class TooManyBytesError(Exception):
    """The bodies that are kept at the same time have more than MAX_HELD_BYTES."""


class BodyBudget:
    """Counts the bytes of all bodies that are kept; used in one thread."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def account(self) -> Iterator[list[bytes]]:
        """Yield a list for the parts of one body, whose bytes are given back at the end."""
        parts: list[bytes] = []
        try:
            yield parts
        finally:
            self.held -= sum(map(len, parts))

    def add(self, parts: list[bytes], part: bytes) -> None:
        """Keep a part.

        Raises:
            TooManyBytesError: all bodies together are too large.
        """
        if self.held + len(part) > self._limit:
            raise TooManyBytesError
        self.held += len(part)
        parts.append(part)


async def read_upload(request: Request, budget: BodyBudget, parts: list[bytes]) -> bytes:
    """Return the contents of the picture file in a request.

    Args:
        request: its body has not been read.
        budget: of all requests.
        parts: of this one, by ``BodyBudget.account``.

    Raises:
        BodyTooLargeError, TooManyBytesError: the body is too large, or all are together.
        DataError: it holds no file.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise BodyTooLargeError
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError
        budget.add(parts, part)
    body = b"".join(parts)
    parts[:] = [body]  # the same bytes in one piece, so that they are not kept twice
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        return await _file_of(request, body)
    if not body:
        raise DataError("the body is empty; send one picture as the body, or as a file of a form")
    return body


async def _file_of(request: Request, body: bytes) -> bytes:
    """Return the contents of the first file of a form; its name is not looked at."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = Request(request.scope, receive).form(max_files=1, max_fields=_MOST_FIELDS)
        async with form as fields:
            for value in fields.values():
                if isinstance(value, UploadFile):
                    return await value.read()
    except HTTPException as error:
        raise DataError(f"the form cannot be read: {error.detail}") from error
    raise DataError("the form has no file; send one picture as a file of a form, or as the body itself")

"""The service over HTTP: /predict, /health, /metrics, and a page about them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from study.errors import DataError
from study.inference.classifier import as_json
from study.inference.picture_upload import (
    MAX_BODY_BYTES,
    BodyBudget,
    BodyTooLargeError,
    TooManyBytesError,
    read_upload,
)
from study.inference.service import MAX_PIXELS, InferenceService, QueueFullError
from study.inference.service_metrics import CONTENT_TYPE

LIMIT_S = 10.0
"""For the body, decoding and classification of one request together."""
RETRY_AFTER_S = 1
_log = logging.getLogger(__name__)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
_BODY = {"required": True, "content": {"image/*": _BINARY, "multipart/form-data": _FORM}}


class Answer(BaseModel):
    """The class of a picture."""

    model_config = ConfigDict(populate_by_name=True)

    class_: str = Field(alias="class", description="The predicted class.")
    probability: float = Field(
        description="Calibrated; of two classes that of the second, of more that of the predicted."
    )
    threshold: float | None = Field(description="A probability above it means the second of two classes.")
    probabilities: dict[str, float] = Field(description="Of every class.")


class Refusal(BaseModel):
    """Why a picture was not classified."""

    error: str


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer},
    413: {"model": Refusal, "description": f"The body has more than {MAX_BODY_BYTES // 10**6} MB."},
    422: {"model": Refusal, "description": f"No picture, or one of more than {MAX_PIXELS // 10**6} megapixels."},
    503: {
        "model": Refusal,
        "description": "Too many pictures wait, or clients are there; try again after the seconds of Retry-After.",
    },
    504: {"model": Refusal, "description": f"Body, decoding and classification took more than {LIMIT_S:.0f} s."},
}


class Deadlines:
    """The time limits of the requests that are being answered, which the end of the service brings forward."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self._latest = limit_s, math.inf
        self._timeouts: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[asyncio.Timeout]:
        """Raise TimeoutError where the block takes too long."""
        at = min(asyncio.get_running_loop().time() + self._limit_s, self._latest)
        async with asyncio.timeout_at(at) as timeout:
            self._timeouts.add(timeout)
            try:
                yield timeout
            finally:
                self._timeouts.discard(timeout)

    def bring_forward(self, within_s: float) -> None:
        """Let no request take longer than this from now on."""
        self._latest = asyncio.get_running_loop().time() + within_s
        for timeout in self._timeouts:
            timeout.reschedule(min(timeout.when() or math.inf, self._latest))


def make_app(service: InferenceService, name: str, deadlines: Deadlines | None = None) -> FastAPI:
    """Make the application of a service that runs.

    Args:
        service: what answers.
        name: of the bundle.
        deadlines: of the requests.
    """
    app = FastAPI(title=f"study serve {name}", docs_url=None, redoc_url=None, version="1")
    budget, limits = BodyBudget(), deadlines or Deadlines(LIMIT_S)

    async def answer(request: Request) -> dict[str, Any]:
        started_s = time.monotonic()
        if service.is_full:
            raise QueueFullError
        with budget.account() as parts:
            async with limits.limit() as timeout:
                contents = await read_upload(request, budget, parts)
                left_s = (timeout.when() or math.inf) - asyncio.get_running_loop().time()
                future = service.submit(contents, time.monotonic() + left_s)
                prediction = await asyncio.wrap_future(future)
        service.metrics.seconds.observe(time.monotonic() - started_s)
        return as_json(prediction, service.classifier)

    @app.post("/predict", responses=_RESPONSES, openapi_extra={"requestBody": _BODY}, summary="Classify a picture.")
    async def predict(request: Request) -> Response:
        """Send the file as the body, or as a file of a form."""
        response = await _answered(answer(request))
        service.metrics.requests.add(str(response.status_code))
        return response

    @app.get("/health", summary="Say that the service runs; answered at once, whatever waits.")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "pending": service.pending, "queue": service.limit}

    @app.get("/metrics", response_class=PlainTextResponse, summary="Metrics in the text format of Prometheus.")
    async def metrics() -> Response:
        gauges = {
            "study_pending_pictures": ("Pictures that wait or are worked on.", service.pending),
            "study_queue_pictures": ("Pictures that may wait at the same time.", service.limit),
            "study_held_bytes": ("Bytes of bodies in memory.", budget.held),
        }
        return Response(service.metrics.text(gauges), media_type=CONTENT_TYPE)

    @app.get("/", response_class=JSONResponse, summary="Say what is served.")
    async def about() -> dict[str, Any]:
        classifier = service.classifier
        return {"bundle": name, "classes": list(classifier.classes), "threshold": classifier.threshold,
                "predict": "POST /predict", "documentation": "/docs"}  # fmt: skip

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(documentation(app.openapi()))

    return app


async def _answered(answer: Any) -> Response:
    """Await an answer and return it, or the refusal that an error means."""
    try:
        return JSONResponse(await answer)
    except BodyTooLargeError:
        return _refusal(413, f"a body must have at most {MAX_BODY_BYTES // 10**6} MB; send a smaller picture")
    except DataError as error:
        return _refusal(422, str(error))
    except (QueueFullError, TooManyBytesError):
        after = {"Retry-After": str(RETRY_AFTER_S)}
        return _refusal(503, f"too many pictures wait; try again in {RETRY_AFTER_S} s", after)
    except TimeoutError:
        # The rest of the body may never come, so that the connection cannot be used again.
        return _refusal(504, f"a picture must be sent and answered within {LIMIT_S:.0f} s", {"Connection": "close"})
    except ClientDisconnect:
        return _refusal(400, "the body ended early")
    except Exception:  # the service goes on, and its log has the traceback
        _log.exception("a picture could not be classified")
        return _refusal(500, "a fault of the service; its log says more")


def _refusal(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": error}, status, headers)


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.3em .8em;text-align:left;"
    "vertical-align:top}pre{background:#f4f4f4;padding:.8em;overflow:auto}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def documentation(schema: dict[str, Any]) -> str:
    """Return a page about an OpenAPI schema that needs no other file and no network."""
    rows = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            answers = "<br>".join(
                f"{escape(status)} {escape(each.get('description', ''))}"
                for status, each in operation["responses"].items()
            )
            summary = f"{escape(operation.get('summary', ''))}<br>{escape(operation.get('description', ''))}"
            rows.append(f"<tr><td><b>{method.upper()} {escape(path)}</b></td><td>{summary}</td><td>{answers}</td></tr>")
    answer = schema["components"]["schemas"]["Answer"]["properties"]
    keys = "".join(f"<tr><td><b>{escape(key)}</b></td><td>{escape(each.get('description', ''))}</td></tr>"
                   for key, each in answer.items())  # fmt: skip
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(schema["info"]["title"])}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(schema['info']['title'])}</h1><table><tr><th>request</th><th></th><th>answers</th></tr>"
        f"{''.join(rows)}</table><h2>The answer to /predict</h2><table>{keys}</table><h2>From a shell</h2>"
        "<pre>curl --data-binary @picture.jpg http://HOST:PORT/predict\ncurl --form file=@picture.jpg "
        'http://HOST:PORT/predict</pre><p>For programs: <a href="/openapi.json">/openapi.json</a></p></body></html>'
    )

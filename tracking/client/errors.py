"""The errors of MLflow by what they mean for the exporter: retry, wait, start again, or give up."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import ParamSpec

from study.errors import TrackingError
from tracking.tracking_uri import quoted_uri

_REFUSALS = ("INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST", "INVALID_STATE")
# MLflow calls most faults of its database a bad request, also those that pass: a failover, a pool that is empty, two
# who insert the same. Only these lie in what was sent.
_BAD_REQUEST = "BAD_REQUEST"
_FAULTS_OF_DATA = ("DataError", "Truncation", "value too long", "Data too long", "out of range", "NUL")
_REFUSED_STATUS = (400, 404, 413)
_TOO_LARGE = "failed with error code 413"
_RATE_LIMIT = re.compile(r"too many (429|503) error responses")
_DENIALS = ("PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED")
_DATABASE_DENIALS = ("password authentication failed", "no password supplied", "Access denied for user")
CREDENTIALS = (
    "give the right MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN "
    "(for a database the password in its URI)"
)


class RefusedError(TrackingError):
    """The server will never take this; sending it again is in vain."""


class LostError(TrackingError):
    """The server no longer knows a run or an experiment it had."""


class DeniedError(TrackingError):
    """The server wants other credentials; this process has no others, so asking again is in vain."""


class RateLimitedError(TrackingError):
    """The server limits the rate of requests; ``wait_s`` is how long it asks to wait, 0 where it does not say."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ExistsError(Exception):
    """Somebody else created it first."""


def translate(exc: Exception, message: str) -> Exception:
    """Return the error of this module for one of MLflow, its database or its HTTP library, with that message."""
    code, words = getattr(exc, "error_code", ""), str(exc)
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if code == "RESOURCE_ALREADY_EXISTS":
        return ExistsError(message)
    if code == "RESOURCE_DOES_NOT_EXIST":
        return LostError(message)
    if code in _DENIALS or status in (401, 403) or refuses_password(words):
        return DeniedError(f"{message}; {CREDENTIALS}")
    lies_in_data = code == _BAD_REQUEST and any(fault in words for fault in _FAULTS_OF_DATA)
    if code in _REFUSALS or lies_in_data or status in _REFUSED_STATUS or _TOO_LARGE in words:
        return RefusedError(message)
    return TrackingError(message)


def is_rate_limit(exc: Exception) -> bool:
    """Whether an error of MLflow's HTTP client means that the server limits the rate of requests."""
    return _RATE_LIMIT.search(str(exc)) is not None


def refuses_password(words: str) -> bool:
    """Whether a database's message means that it wants another user or password."""
    return any(denial in words for denial in _DATABASE_DENIALS)


def refuse_deleted(name: str, experiment_id: str, stage: str, tracking_uri: str) -> None:
    """Check that an experiment is there to be used.

    Raises:
        TrackingError: somebody deleted it.
    """
    if stage != "active":
        raise TrackingError(
            f"MLflow's experiment {name!r} must not be deleted, but it is; restore it (`MLFLOW_TRACKING_URI="
            f"{quoted_uri(tracking_uri)} mlflow experiments restore --experiment-id {experiment_id}`), run under "
            "another --name, or track elsewhere with --tracking-uri"
        )


_log = logging.getLogger("tracking")
_Arguments = ParamSpec("_Arguments")


def log_if_rejected(call: Callable[_Arguments, object], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
    """Call the server; log what it refuses for good and go on."""
    try:
        call(*args, **kwargs)
    except RefusedError as exc:
        _log.error("%s", exc)

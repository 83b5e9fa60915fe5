"""What MLflow's errors mean for whoever sends: try later, ask nicely, begin again, or leave it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec

from study.errors import TrackingError
from tracking.client.retry import wait_asked_s

_REFUSALS = ("INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST", "INVALID_STATE")
# MLflow calls most faults of its database a bad request, also those that pass: a failover, a pool that is empty, two
# who insert the same. Only these lie in what was sent.
_BAD_REQUEST = "BAD_REQUEST"
_FAULTS_OF_DATA = ("DataError", "Truncation", "value too long", "Data too long", "out of range", "NUL")
_REFUSED_STATUS = (400, 404, 413)
_TOO_LARGE = "failed with error code 413"
_DENIALS = ("PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED")
_DATABASE_DENIALS = ("password authentication failed", "no password supplied", "Access denied for user")
CREDENTIALS = (
    "give the right MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN "
    "(for a database the password in its URI), then `study sync`"
)


class RefusedError(TrackingError):
    """The server will never take this; sending it again is in vain."""


class LostError(TrackingError):
    """The server no longer knows a run or an experiment it had."""


class DeniedError(TrackingError):
    """The server wants other credentials; this process has no others, so asking again is in vain."""


class RateLimitedError(TrackingError):
    """The server wants to be left alone for ``wait_s`` seconds."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ExistsError(Exception):
    """Somebody else created it first."""


def translate(exc: Exception, message: str) -> Exception:
    """Return what an error of MLflow, its database or its HTTP library is for us, with that message."""
    code, words = getattr(exc, "error_code", ""), str(exc)
    status = getattr(getattr(exc, "response", None), "status_code", None)
    if code == "RESOURCE_ALREADY_EXISTS":
        return ExistsError(message)
    if code == "RESOURCE_DOES_NOT_EXIST":
        return LostError(message)
    if code in _DENIALS or status in (401, 403) or refuses_password(words):
        return DeniedError(f"{message}; {CREDENTIALS}")
    lies_in_data = code == _BAD_REQUEST and any(one in words for one in _FAULTS_OF_DATA)
    if code in _REFUSALS or lies_in_data or status in _REFUSED_STATUS or _TOO_LARGE in words:
        return RefusedError(message)
    if wait_s := wait_asked_s(words):
        return RateLimitedError(message, wait_s)
    return TrackingError(message)


def refuses_password(words: str) -> bool:
    """Whether a database's words mean that it wants another user or password."""
    return any(one in words for one in _DATABASE_DENIALS)


def refuse_deleted(name: str, experiment_id: str, stage: str) -> None:
    """Check that an experiment is there to be used.

    Raises:
        TrackingError: somebody deleted it.
    """
    if stage != "active":
        raise TrackingError(
            f"MLflow's experiment {name!r} must not be deleted, but it is; restore it "
            f"(`mlflow experiments restore --experiment-id {experiment_id}`), run under another --name, "
            "or track elsewhere with --tracking-uri"
        )


_log = logging.getLogger("tracking")
_Arguments = ParamSpec("_Arguments")


def log_if_rejected(call: Callable[_Arguments, object], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
    """Call the server; what it refuses for ever is said in the log and the rest goes on."""
    try:
        call(*args, **kwargs)
    except RefusedError as exc:
        _log.error("%s", exc)

"""Ask an MLflow server over plain HTTP whether a study can be tracked there."""

from __future__ import annotations

import base64
import configparser
import json
import netrc
import os
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from study.errors import TrackingError
from tracking.server.faults import CREDENTIALS, refuse_deleted
from tracking.uri import mask_text, mask_uri

_PATH = "/api/2.0/mlflow/experiments/get-by-name?experiment_name="
_MOST_BYTES = 1_000_000


def check_http(tracking_uri: str, study: str, timeout_s: float) -> str | None:
    """Return why the server cannot be used now, None when it can.

    Raises:
        TrackingError: it is no MLflow server, or has a deleted experiment of the study's name.
    """
    parts = urlsplit(tracking_uri)
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
    request = urllib.request.Request(f"{address}{_PATH}{quote(study, safe='')}")
    if given := credentials(tracking_uri):
        request.add_unredirected_header("Authorization", given)
    try:
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust()))
        with opener.open(request, timeout=timeout_s) as answer:
            body = answer.read(_MOST_BYTES)
    except urllib.error.HTTPError as exc:
        return _say(exc.code, _json(exc.read(_MOST_BYTES)), tracking_uri)
    except (OSError, HTTPException, ValueError) as exc:
        reason = getattr(exc, "reason", None) or exc
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return mask_text(words, tracking_uri)
    found = _json(body).get("experiment")
    if not isinstance(found, dict):
        raise _stranger(tracking_uri, "with something else than an experiment")
    refuse_deleted(study, str(found.get("experiment_id")), str(found.get("lifecycle_stage")))
    return None


def _say(status: int, body: dict[str, object], tracking_uri: str) -> str | None:
    if body.get("error_code") == "RESOURCE_DOES_NOT_EXIST" or status == 429:
        return None  # the experiment is made later; a busy server is there
    if status in (401, 403):
        return f"it refuses the credentials (HTTP {status}); {CREDENTIALS}"
    if 400 <= status < 500 and status != 408:
        raise _stranger(tracking_uri, f"HTTP {status}")
    return f"it answers HTTP {status}"


def _stranger(tracking_uri: str, answer: str) -> TrackingError:
    return TrackingError(
        f"--tracking-uri must be the address of an MLflow server, but {mask_uri(tracking_uri)} answers {answer} "
        "where MLflow tells an experiment; look at the host, the port and the path"
    )


def _json(body: bytes) -> dict[str, object]:
    with suppress(ValueError):
        found = json.loads(body)
        return found if isinstance(found, dict) else {}
    return {}


def credentials(tracking_uri: str) -> str | None:
    """Return what MLflow's client would send: of the URI, else of ~/.netrc, else of MLflow's own variables and file."""
    parts = urlsplit(tracking_uri)
    if parts.username is not None and parts.password is not None:
        return _basic(unquote(parts.username), unquote(parts.password))
    with suppress(OSError, netrc.NetrcParseError):
        if (entry := netrc.netrc().authenticators(parts.hostname or "")) is not None:
            return _basic(entry[0], entry[2] or "")
    filed = _filed()
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or filed.get("mlflow_tracking_username")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or filed.get("mlflow_tracking_password")
    if user and password:
        return _basic(user, password)
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return f"Bearer {token}" if token else None


def _filed() -> dict[str, str]:
    with suppress(OSError, configparser.Error, UnicodeDecodeError):
        config = configparser.ConfigParser()
        config.read(Path.home() / ".mlflow" / "credentials")
        return dict(config["mlflow"]) if "mlflow" in config else {}
    return {}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.standard_b64encode(f"{user}:{password}".encode()).decode()


def trust() -> ssl.SSLContext:
    """Return the trust MLflow's client has: its own variables, else those of requests, else certifi's list.

    Raises:
        OSError: a file of them is not there.
    """
    named = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    bundle = next((os.environ[one] for one in named if os.environ.get(one)), None)
    if bundle is None:
        with suppress(ImportError):
            import certifi

            bundle = certifi.where()
    folder = bundle is not None and Path(bundle).is_dir()
    context = ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if own := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        context.load_cert_chain(own)
    return context

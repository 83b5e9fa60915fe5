"""Go on without what a server refuses for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec

from tracking.server.door import RefusedError

_log = logging.getLogger("tracking")
_Arguments = ParamSpec("_Arguments")


def unless_refused(call: Callable[_Arguments, None], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
    """Call the server; what it refuses for ever is said in the log and the rest goes on."""
    try:
        call(*args, **kwargs)
    except RefusedError as exc:
        _log.error("%s", exc)

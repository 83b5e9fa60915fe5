"""Where a page is served: a port that is free, and the names by which browsers may ask for it."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress

from study.errors import StudyError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_LAST_PORT = 65535
_NOWHERE = "192.0.2.1"  # reserved for documentation, RFC 5737


def free_port(host: str, port: int, tries: int = 1) -> int:
    """Return the first free port from ``port`` on; 0 takes any.

    Args:
        host: A name or an address of this machine.
        port: Where to begin.
        tries: How many ports to look at.

    Raises:
        StudyError: none of them is free, or the host is not this machine.
    """
    if not 0 <= port <= _LAST_PORT:
        raise StudyError(f"A port must be in [0, {_LAST_PORT}], but is {port}; choose another --port")
    fault: OSError | None = None
    for wanted in range(port, min(port + tries, _LAST_PORT + 1)):
        try:
            return _bound(host, wanted)
        except (OSError, UnicodeError) as exc:
            if not isinstance(exc, OSError) or isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
                raise StudyError(f"The host must be a name or an address of this machine, but is {host!r}") from exc
            fault = exc
    shown = port if tries == 1 else f"{port} to {port + tries - 1}"
    raise StudyError(
        f"The port must be free, but {host}:{shown} is not ({fault}); choose another --port, 0 takes any"
    ) from fault


def public_url(host: str, port: int) -> str:
    """Return the URL of a page that is served there, for a browser on this machine or on another."""
    return f"http://{socket.gethostname() if host in _EVERYWHERE else _bracketed(host)}:{port}"


def local_url(host: str, port: int) -> str:
    """Return the URL by which this machine itself asks, whatever others call it."""
    return f"http://{_bracketed(_EVERYWHERE.get(host, host))}:{port}"


def allowed_hosts(host: str) -> tuple[str, ...]:
    """Return what a browser may call the server, without the port: the names and addresses of this machine.

    The page of another site can make its own name point here, but none of these.
    """
    names = ["localhost", "127.0.0.1", "::1"]
    if not is_loopback(host):
        names += [host, socket.gethostname(), socket.getfqdn(), *_own_addresses()]
    return tuple(dict.fromkeys(_bracketed(one) for one in names if one and one not in _EVERYWHERE))


def is_loopback(host: str) -> bool:
    """Whether only this machine can ask there."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _own_addresses() -> list[str]:
    found: list[str] = []
    with suppress(OSError):
        found += [str(one[4][0]) for one in socket.getaddrinfo(socket.gethostname(), None)]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_NOWHERE, 9))  # only chooses the route: nothing is sent
        found.append(str(probe.getsockname()[0]))
    return found


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> int:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        return int(probe.getsockname()[1])

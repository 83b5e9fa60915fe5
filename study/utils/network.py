"""Free ports, URLs of local servers, and the host names under which browsers may reach them."""

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
        host: a name or an address of this machine.
        port: the first one to try.
        tries: how many ports to try.

    Raises:
        StudyError: none of them is free, or the host is not this machine.
    """
    if not 0 <= port <= _LAST_PORT:
        raise StudyError(f"A port must be in [0, {_LAST_PORT}], but is {port}; choose another --port")
    failure: OSError | None = None
    for candidate in range(port, min(port + tries, _LAST_PORT + 1)):
        try:
            return _bound(host, candidate)
        except (OSError, UnicodeError) as exc:
            if not isinstance(exc, OSError) or isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
                raise StudyError(f"The host must be a name or an address of this machine, but is {host!r}") from exc
            failure = exc
    shown = port if tries == 1 else f"{port} to {port + tries - 1}"
    raise StudyError(
        f"The port must be free, but {host}:{shown} is not ({failure}); choose another --port, 0 takes any"
    ) from failure


def public_url(host: str, port: int) -> str:
    """Return the URL of a server for browsers on this machine or on another one."""
    return f"http://{socket.gethostname() if host in _EVERYWHERE else _bracketed(host)}:{port}"


def local_url(host: str, port: int) -> str:
    """Return the URL of a server for this machine itself."""
    return f"http://{_bracketed(_EVERYWHERE.get(host, host))}:{port}"


def allowed_hosts(host: str) -> tuple[str, ...]:
    """Return the host names that a browser may use for the server: names and addresses of this machine.

    A foreign site can make its own name point to this machine (DNS rebinding), but none of these.
    """
    names = ["localhost", "127.0.0.1", "::1"]
    if not is_loopback(host):
        names += [host, socket.gethostname(), socket.getfqdn(), *_own_addresses()]
    return tuple(dict.fromkeys(_bracketed(name) for name in names if name and name not in _EVERYWHERE))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _own_addresses() -> list[str]:
    addresses: list[str] = []
    with suppress(OSError):
        addresses += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_NOWHERE, 9))  # only chooses the route: nothing is sent
        addresses.append(str(probe.getsockname()[0]))
    return addresses


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> int:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        return int(probe.getsockname()[1])

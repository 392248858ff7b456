"""Where a request goes, and the bytes of its head; what is not plain is left to others."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from gateway.errors import EndpointUnavailable

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[A-Za-z0-9._~!$&'()*+,;=:@/%\-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@/?%\-]*)?",
    re.ASCII,
)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~\-]+", re.ASCII)
_DEFAULTS = {
    "accept": "*/*",
    # Compressed JSON costs more CPU than loopback and data-centre networks cost time.
    "accept-encoding": "identity",
    "user-agent": "hikaku",
}
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"}
)
"""Headers that say how the others are to be read."""
_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535


class Place(NamedTuple):
    """One server: equal places share their connections."""

    secure: bool
    host: str
    port: int


class Address(NamedTuple):
    """A place, and what is asked there."""

    place: Place
    host: str
    """As the `Host` header says it."""
    target: str


@lru_cache(maxsize=4096)
def address_of(url: str) -> Address | None:
    """Where a plain URL leads; None for any other: it may need to be quoted, or be none."""
    found = _URL.fullmatch(url)
    if found is None or "/." in (target := found["target"] or "/"):
        return None
    port = int(found["port"] or _PORTS[found["scheme"]])
    if not 0 < port <= _HIGHEST_PORT:
        return None
    name = found["host"].lower()
    host = f"{name}:{port}" if port != _PORTS[found["scheme"]] else name
    place = Place(found["scheme"] == "https", name.strip("[]"), port)
    return Address(place, host, target + (found["query"] or ""))


def head_of(method: str, address: Address, headers: Mapping[str, str], length: int) -> bytes | None:
    """The bytes before a body; None where more than its length says how to read a message.

    Raises:
        EndpointUnavailable: A header holds what would end it.
    """
    lines = _lines(tuple(headers.items())) if method in _METHODS else None
    if lines is None:
        return None
    first = f"{method} {address.target} HTTP/1.1\r\nhost: {address.host}\r\n"
    framing = f"content-length: {length}\r\n\r\n" if length or method != "GET" else "\r\n"
    return (first + lines + framing).encode()


@lru_cache(maxsize=512)
def _lines(headers: tuple[tuple[str, str], ...]) -> str | None:
    """Headers with the defaults, as lines; None: they say how to read the message."""
    given = {name.lower(): value for name, value in headers}
    if given.keys() & _FRAMING:
        return None
    for name, value in given.items():
        if _NAME.fullmatch(name) is None or any(c in value for c in "\r\n\0"):
            # Keys and settings of the endpoint: no caller can mend them.
            message = f"the header {name!r} holds characters that no header may"
            raise EndpointUnavailable(message)
    return "".join(f"{name}: {value}\r\n" for name, value in (_DEFAULTS | given).items())

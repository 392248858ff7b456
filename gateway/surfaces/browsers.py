"""What a page of another site makes a browser send, refused by a gateway that demands no key.

Such a gateway listens on this machine alone, and a browser on it is inside: a page could spend the
operator's money by a plain form, or read answers by a name of its own that leads to 127.0.0.1.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.surfaces.refusals import refusal_at

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({b"none", b"same-origin"})
_OPEN_PATHS = frozenset({"/health"})


class OwnPages:
    """Answers to this machine's names, and to no page of another site."""

    def __init__(self, app: ASGIApp, public_url: str | None = None) -> None:
        self._app = app
        self._named = {_name(urlsplit(public_url).netloc)} if public_url else set[str]()
        self._known: dict[bytes, bool] = {}
        """Whether a Host is ours; clients send one of few."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is ours, refuse the rest in the words of the path."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            status, message = self._refusal(scope["method"], scope["headers"])
            if status:
                body = refusal_at(scope["path"], status, message)
                refused = Response(body, status, media_type="application/json")
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, str]:
        host, origin, site = b"", None, b"none"
        for name, value in headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if not self._is_ours(host):
            return 400, (
                "without a key this gateway answers to names of this machine alone: set"
                " HIKAKU_API_KEY, or HIKAKU_PUBLIC_URL to the address that it is known by"
            )
        foreign = origin is not None and origin.partition(b"//")[2].lower() != host.lower()
        if method not in _SAFE and (foreign or site not in _OWN_SITE):
            return 403, "without a key no page of another site may ask: set HIKAKU_API_KEY"
        return 0, ""

    def _is_ours(self, host: bytes) -> bool:
        found = self._known.get(host)
        if found is None:
            name = _name(host.decode("latin-1"))
            found = name in self._named or name == "localhost" or _is_loopback(name)
            if len(self._known) < 100:  # noqa: PLR2004 - strangers may send any number of names
                self._known[host] = found
        return found


def _name(netloc: str) -> str:
    """The host of `host:port`, `[::1]:port` or a bare name, in lower case."""
    host = netloc.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

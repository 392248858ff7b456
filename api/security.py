"""Who may do what: every route asks the guard before anything of the request is read.

Deny by default. A route is open only if its endpoint says so with `@public`, and the application
refuses to start with a route that the guard does not stand before (`check_routes`).
"""

import base64
import hmac
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from api.bodies import Checked, limited
from api.errors import RequestRefusedError
from gateway.surfaces import caller_of

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = 'Bearer realm="Hikaku"'
_CHALLENGE_OF_PAGES = 'Basic realm="Hikaku", charset="UTF-8"'
"""Makes a browser ask for a password; a page's own requests must not make it ask again."""
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Access(StrEnum):
    """What a route demands of its caller."""

    PUBLIC = "public"  #: Nothing.
    KEY = "key"  #: The key of this installation, when it has one.


class Body(StrEnum):
    """How much a route may be sent."""

    JSON = "json"
    STREAM = "stream"  #: A dataset; never held in memory.


Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def public(endpoint: Endpoint) -> Endpoint:
    """Open a route to everybody."""
    endpoint.__dict__["access"] = Access.PUBLIC
    return endpoint


def takes_stream(endpoint: Endpoint) -> Endpoint:
    """Let a route receive a body of the size of a dataset."""
    endpoint.__dict__["body"] = Body.STREAM
    return endpoint


class OpenBindError(ValueError):
    """An address others can reach, and no key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Decides whether a request may enter. Roles will be decided here, and nowhere else."""

    api_key: SecretStr | None = None
    """What callers must show; None lets everybody in who can reach the address."""
    allowed_hosts: frozenset[str] | None = None
    """Names this server answers to; None: any. Others are DNS rebinding."""

    def admit(self, connection: HTTPConnection, access: Access) -> None:
        """Let the request in, or say why not.

        Raises:
            RequestRefusedError: 400 foreign Host, 403 another site's page, 401 no or wrong key.
        """
        self._check_host(connection)
        _check_site(connection)
        if access is Access.KEY and self.api_key is not None:
            key = self.api_key.get_secret_value()
            _check_key(connection, key)
            # Whose limits and budget count, and who is named where use is reported.
            connection.scope.setdefault("state", {})["caller"] = caller_of(key.encode())

    def _check_host(self, connection: HTTPConnection) -> None:
        host = _name(connection.headers.get("host", ""))
        if self.allowed_hosts is not None and host not in self.allowed_hosts:
            detail = "this server does not answer to that Host; use the address it printed"
            raise RequestRefusedError(
                status=HTTPStatus.BAD_REQUEST, code="host_not_allowed", detail=detail
            )


def guard_for(host: str, api_key: SecretStr | None, public_url: str | None = None) -> Guard:
    """Make the guard for a server that listens on `host`.

    Raises:
        OpenBindError: Others can reach `host`, and there is no key.
    """
    if api_key is not None and not api_key.get_secret_value().strip():
        api_key = None
    if not is_loopback(host):
        if api_key is None:
            raise OpenBindError(
                f"{host} can be reached by others: set HIKAKU_API_KEY, or listen on 127.0.0.1"
            )
        return Guard(api_key=api_key)
    named = {_name(urlsplit(public_url).netloc)} if public_url else set[str]()
    return Guard(api_key=api_key, allowed_hosts=_LOOPBACK_NAMES | {_name(host)} | named)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _name(netloc: str) -> str:
    """Give the host of `host:port`, `[::1]:port` or a bare address, in lower case."""
    host = netloc.rpartition("@")[2].strip().lower()
    if host.startswith("["):
        inner, bracket, _ = host[1:].partition("]")
        return inner if bracket else host
    return host if host.count(":") > 1 else host.partition(":")[0]


def _check_site(connection: HTTPConnection) -> None:
    """Refuse what a page of another site makes a browser send: it may carry our credentials."""
    if connection.scope.get("method", "GET") in _SAFE_METHODS:
        return
    headers = connection.headers
    origin = headers.get("origin")
    is_own = origin is None or _site_of(origin) == headers.get("host", "").lower()
    if not is_own or headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise RequestRefusedError(
            status=HTTPStatus.FORBIDDEN,
            code="cross_site",
            detail="a page of another site may not change anything here",
        )


def _site_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _check_key(connection: HTTPConnection, key: str) -> None:
    shown = _shown_key(connection.headers.get("authorization", ""))
    if shown is not None and hmac.compare_digest(shown, key.encode()):
        return
    detail = (
        "send `Authorization: Bearer <HIKAKU_API_KEY>`, or the key as the password of Basic"
        if shown is None
        else "this key is not the one of this installation"
    )
    is_page = "text/html" in connection.headers.get("accept", "")
    raise RequestRefusedError(
        status=HTTPStatus.UNAUTHORIZED,
        code="key_missing" if shown is None else "key_wrong",
        detail=detail,
        headers={"www-authenticate": _CHALLENGE_OF_PAGES if is_page else _CHALLENGE},
    )


def _shown_key(authorization: str) -> bytes | None:
    """Take the key out of the header; bytes, as the wire has no opinion on their encoding."""
    scheme, _, rest = authorization.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip().encode("latin-1")
        case "basic":
            return _password(rest.strip())
        case _:
            return None


def _password(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return None


class GuardedRoute(APIRoute):
    """A route of ours: guard, size of the body, strict JSON; then FastAPI's own handling."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        access, body = access_of(self.endpoint), _body_of(self.endpoint)

        async def guarded(request: Request) -> Response:
            context = request.app.state.context
            context.guard.admit(request, access)
            limits = context.limits
            most = limits.upload_bytes if body is Body.STREAM else limits.json_bytes
            checked = Checked(request.scope, limited(request.scope, request.receive, most))
            if self.body_field is not None:
                await checked.load()
            return await answer(checked)

        return guarded


class GuardedApp:
    """Somebody else's ASGI application, behind the guard."""

    def __init__(self, app: ASGIApp, guard: Guard, *, most: int) -> None:
        self._app, self._guard, self._most = app, guard, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        self._guard.admit(HTTPConnection(scope), Access.KEY)
        await self._app(scope, limited(scope, receive, self._most), send)


def guarded(route: Route, guard: Guard, *, most: int) -> Route:
    """Put the guard before a route that is not ours."""
    route.app = GuardedApp(route.app, guard, most=most)
    return route


def access_of(endpoint: Callable[..., object]) -> Access:
    """Say what an endpoint demands; the key, unless it is marked otherwise."""
    return getattr(endpoint, "access", Access.KEY)


def _body_of(endpoint: Callable[..., object]) -> Body:
    return getattr(endpoint, "body", Body.JSON)


def is_guarded(route: BaseRoute) -> bool:
    """Whether the guard stands before a route."""
    return isinstance(route, GuardedRoute) or isinstance(getattr(route, "app", None), GuardedApp)


def check_routes(app: FastAPI) -> None:
    """Refuse an application with a route that anybody could enter by oversight.

    Raises:
        RuntimeError: Names the routes.
    """
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    routes += getattr(app.router, "_low_priority_routes", [])
    bare = [getattr(route, "path", repr(route)) for route in routes if not is_guarded(route)]
    if bare:
        raise RuntimeError(f"no guard stands before {', '.join(bare)}")

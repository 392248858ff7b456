"""What every exchange has: an id, the security headers, a line in the log, and an answer.

Nothing a request does may end without one: what no table of errors knows is a 500 that names
the request, and the log has the rest.
"""

import logging
import re
import time
from http import HTTPStatus
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

log = logging.getLogger("api")
access_log = logging.getLogger("api.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}", re.ASCII)

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Set where the route did not set its own."""


class RequestFrame:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = 499
        except Exception:
            # The one broad catch of this program: an answer is owed whatever happened.
            log.exception("request failed", extra={"request_id": exchange.id})
            if exchange.status:
                raise  # half an answer is out: cutting the line is the only honest end
            await exchange.fail(receive)
        finally:
            exchange.record()


class _Exchange:
    def __init__(self, scope: Scope, send: Send) -> None:
        shown = Headers(scope=scope).get("x-request-id", "")
        self.id = shown if _REQUEST_ID.fullmatch(shown) else uuid4().hex
        self.status = 0
        self._scope, self._send, self._began = scope, send, time.perf_counter()
        scope.setdefault("state", {})["request_id"] = self.id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers["x-request-id"] = self.id
        await self._send(message)

    async def fail(self, receive: Receive) -> None:
        detail = "something went wrong on our side; the log has it under this request's id"
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        await problem(self.id, status, "internal", detail)(self._scope, receive, self.send)

    def record(self) -> None:
        milliseconds = (time.perf_counter() - self._began) * 1000
        access_log.info(
            "request",
            extra={
                "request_id": self.id,
                "method": self._scope["method"],
                "path": self._scope["path"][:500],
                "status": self.status,
                "ms": round(milliseconds, 1),
            },
        )

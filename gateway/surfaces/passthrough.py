"""Requests that no surface knows, passed to an endpoint's vendor as they are; ours is the key.

Only endpoints that say `passthrough: true` do. Limits, retries, budgets and the cache know nothing
of such a request. What came of it is noted, with the counts that the vendor's answer tells.
"""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace
from starlette.routing import Route
from starlette.types import Receive, Send
from typing_extensions import override

from gateway.asking import record_of
from gateway.client import Gateway
from gateway.config import Endpoint, Wire
from gateway.errors import EndpointUnavailable, InvalidRequest, UnknownEndpoint
from gateway.http import ReplyStream, Transport, WireRequest, failure_of
from gateway.providers.access import access_of
from gateway.surfaces.exchange import (
    Call,
    ClientLeftError,
    RawHeaders,
    Reply,
    raw_headers,
    route,
    while_connected,
)
from gateway.surfaces.gauge import Gauge
from gateway.surfaces.mlflow import mlflow_refusal
from gateway.types import Usage

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "proxy-connection", "content-length",
    }
)  # fmt: skip
_NOT_SENT = _HOP_BY_HOP | {
    "host", "authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "accept-encoding",
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "expect",
}  # fmt: skip
"""What is between the client and us: the way, and who it is."""
_NOT_RETURNED = _HOP_BY_HOP | {"set-cookie", "server", "date", "content-encoding", "alt-svc"}


class PassthroughSurface:
    """The vendor's own interface, below the endpoint's name."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Our path, and that of MLflow's server."""
        paths = ("/gateway/{name}/passthrough/{path:path}", "/gateway/proxy/{name}/{path:path}")
        return [route(_METHODS, path, self._pass, mlflow_refusal) for path in paths]

    async def _pass(self, call: Call) -> Reply:
        endpoint = self._open_endpoint(call.parameter("name"))
        path = _safe(call.parameter("path"))
        passage = Passage(self._gateway, endpoint, call, path, await call.raw_body())
        try:
            return await while_connected(call.receive, passage.opened())
        except BaseException as error:
            passage.ended(error)
            raise

    def _open_endpoint(self, name: str) -> Endpoint:
        endpoint = self._gateway.catalog.endpoints.get(name)
        if endpoint is None:
            raise UnknownEndpoint(name)
        if not endpoint.passthrough:
            message = f"the endpoint `{name}` passes nothing through (`passthrough: true` lets it)"
            raise InvalidRequest(message, status=403)
        if endpoint.unavailable is not None:
            raise EndpointUnavailable(f"the endpoint `{name}`: {endpoint.unavailable}")
        return endpoint


class _Asked(msgspec.Struct):
    model: str | None = None


_ASKED = msgspec.json.Decoder(_Asked)


class Passage:
    """One request on its way through, and what is noted of it at the end."""

    def __init__(
        self, gateway: Gateway, endpoint: Endpoint, call: Call, path: str, body: bytes
    ) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._scope = call.scope
        self._path = path
        self._body = body
        self._ticket = call.ticket
        self._ticket.endpoint = endpoint.name
        self._begun = 0.0
        self._reply: ReplyStream | None = None
        self._gauge = Gauge("")

    async def opened(self) -> Reply:
        """Send the request; the reply when it begins."""
        transport = self._gateway.transport
        request = await self._request(transport)
        self._begun = time.perf_counter()
        self._ticket.attempts = 1
        stack = AsyncExitStack()
        try:
            self._reply = await stack.enter_async_context(transport.stream(request))
        except BaseException:
            await stack.aclose()
            raise
        self._ticket.provider_seconds = time.perf_counter() - self._begun
        self._ticket.first_byte()
        self._gauge = Gauge(self._reply.headers.get("content-type", ""))
        return Piped(self._reply, stack, self)

    def passed(self, piece: bytes) -> None:
        """Take note of a piece of the reply, which has gone on already."""
        self._gauge.feed(piece)

    def ended(self, error: BaseException | None) -> None:
        """Note the call; what the vendor does not tell of it is not known."""
        if error is not None:
            self._gateway.outages.tell(error, self._endpoint.name, self._endpoint.base_url)
        if self._begun:
            self._ticket.provider_seconds = time.perf_counter() - self._begun
        reply, usage = self._reply, Usage()
        if error is None and reply is not None and reply.status >= 300:  # noqa: PLR2004 - no success
            error = failure_of(reply.status, reply.headers, self._gauge.body)
        # What is only looked at tells of the call that made it, which was noted then.
        if self._scope["method"] == "POST":
            usage = self._gauge.usage()
        record = record_of(
            self._ticket,
            self._endpoint,
            asked=self._endpoint.name,
            error=error,
            usage=usage,
            streamed=self._gauge.streamed,
        )
        if not self._is_of_the_model():
            record = replace(record, price=None, price_source=None)
        self._gateway.note(record)

    async def _request(self, transport: Transport) -> WireRequest:
        url, headers = await _addressed(self._endpoint, transport, self._path)
        if query := self._scope["query_string"].decode("latin-1"):
            url += ("&" if "?" in url else "?") + query
        return WireRequest(
            method=self._scope["method"],
            url=url,
            body=self._body,
            headers=_kept(self._scope["headers"]) | headers,
            timeouts=self._endpoint.timeouts,
        )

    def _is_of_the_model(self) -> bool:
        """Whether the endpoint's own model was asked, whose price is known: any may be."""
        endpoint = self._endpoint
        if endpoint.wire in {Wire.TGI, Wire.MLFLOW_SERVING}:
            return True  # There is no other.
        if endpoint.wire is Wire.GEMINI:
            model = (endpoint.model or "").removeprefix("models/")
            return f"/models/{model}:" in f"/{unquote(self._path)}"
        try:
            return endpoint.model is not None and _ASKED.decode(self._body).model == endpoint.model
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False


class Piped(Reply):
    """A vendor's reply, as it comes."""

    def __init__(self, reply: ReplyStream, stack: AsyncExitStack, passage: Passage) -> None:
        self._reply = reply
        self._stack = stack
        self._passage = passage

    @override
    async def deliver(self, receive: Receive, send: Send, told: RawHeaders) -> None:
        error: BaseException | None = None
        try:
            async with self._stack:
                await while_connected(receive, self._send(send, told))
        except ClientLeftError as left:
            error = left
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._passage.ended(error)

    async def _send(self, send: Send, told: RawHeaders) -> None:
        theirs = raw_headers(_returned(self._reply.headers))
        named = {name for name, _ in theirs}
        headers = theirs + [header for header in told if header[0] not in named]
        start = {"type": "http.response.start", "status": self._reply.status, "headers": headers}
        await send(start)
        async for piece in self._reply.chunks:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self._passage.passed(piece)
        await send({"type": "http.response.body", "body": b""})


async def _addressed(
    endpoint: Endpoint, transport: Transport, path: str
) -> tuple[str, dict[str, str]]:
    """Where the vendor is, and the headers that carry our key."""
    base = endpoint.base_url
    if base is None:
        raise InvalidRequest(f"`{endpoint.provider}` has nothing to pass through to")
    match endpoint.wire:
        case Wire.OPENAI:
            access = access_of(endpoint, transport, base)
            given = await access.authorized()
            ours = {name: value for name, value in given.items() if name != "Content-Type"}
            return f"{access.base_url}/{path}{access.query}", ours
        case Wire.ANTHROPIC:
            return f"{base}/{path}", _keyed("x-api-key", endpoint)
        case Wire.GEMINI:
            return f"{base}/{path}", _keyed("x-goog-api-key", endpoint)
        case Wire.TGI | Wire.COHERE | Wire.MLFLOW_SERVING:
            return f"{base}/{path}", _keyed("Authorization", endpoint, "Bearer ")
        case _:
            raise InvalidRequest(f"`{endpoint.provider}` signs its requests: none passes through")


def _keyed(header: str, endpoint: Endpoint, scheme: str = "") -> dict[str, str]:
    return {header: scheme + endpoint.secret} if endpoint.secret is not None else {}


def _safe(path: str) -> str:
    """The path, quoted anew.

    Raises:
        InvalidRequest: It leads out of what the endpoint's address names.
    """
    if any(segment in {".", "..", ""} for segment in path.rstrip("/").split("/")):
        raise InvalidRequest("the path must not hold empty segments, `.` or `..`")
    return quote(path, safe="/:@!$&'()*+,;=~-._")


def _kept(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    named = {name.strip().lower() for name in found.get("connection", "").split(",")}
    return {k: v for k, v in found.items() if k not in _NOT_SENT and k not in named}


def _returned(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _NOT_RETURNED}

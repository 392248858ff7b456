"""Requests that no surface knows, passed to an endpoint's vendor as they are; ours is the key.

Only endpoints that say `passthrough: true` do. Limits, retries, budgets, the cache and the usage
records know nothing of such a request: what it costs, only the vendor can read.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.parse import quote

from starlette.routing import Route
from starlette.types import Receive, Send
from typing_extensions import override

from gateway.client import Gateway
from gateway.config import Endpoint, Wire
from gateway.errors import EndpointUnavailable, InvalidRequest, UnknownEndpoint
from gateway.http import ReplyStream, Transport, WireRequest
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
from gateway.surfaces.mlflow import mlflow_refusal

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
        transport = self._gateway.transport
        url, headers = await _addressed(endpoint, transport, _safe(call.parameter("path")))
        if query := call.scope["query_string"].decode("latin-1"):
            url += ("&" if "?" in url else "?") + query
        request = WireRequest(
            method=call.scope["method"],
            url=url,
            body=await call.raw_body(),
            headers=_kept(call.scope["headers"]) | headers,
            timeouts=endpoint.timeouts,
        )
        return await while_connected(call.receive, _opened(transport, request))

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


class Piped(Reply):
    """A vendor's reply, as it comes."""

    def __init__(self, reply: ReplyStream, stack: AsyncExitStack) -> None:
        self._reply = reply
        self._stack = stack

    @override
    async def deliver(self, receive: Receive, send: Send, told: RawHeaders) -> None:
        async with self._stack:
            try:
                await while_connected(receive, self._send(send, told))
            except ClientLeftError:
                return

    async def _send(self, send: Send, told: RawHeaders) -> None:
        headers = raw_headers(_returned(self._reply.headers)) + told
        start = {"type": "http.response.start", "status": self._reply.status, "headers": headers}
        await send(start)
        async for piece in self._reply.chunks:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _opened(transport: Transport, request: WireRequest) -> Reply:
    stack = AsyncExitStack()
    try:
        reply = await stack.enter_async_context(transport.stream(request))
    except BaseException:
        await stack.aclose()
        raise
    return Piped(reply, stack)


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

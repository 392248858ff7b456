"""The default transport: HTTP/1.1 on connections of our own, at a few microseconds a call.

What is not plain goes through aiohttp: proxies, addresses that have to be quoted, methods and
headers that change how a message is read.

A request that was written is not written again, with one exception: a GET on a kept connection
that the server closes without a word. Whether a POST was heard before that cannot be known, and
answers are bought with it; whether to buy again is decided above, where the buying is counted.
Kept connections are looked at before they are used, so that this is rare.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from typing_extensions import override

from gateway.config import Timeouts
from gateway.errors import Unavailable
from gateway.http.addresses import Address, Place, address_of, head_of
from gateway.http.connection import Connection
from gateway.http.incoming import Incoming, Limit
from gateway.http.origins import Origin
from gateway.http.proxies import proxies_of
from gateway.http.wire import Reply, ReplyStream, Transport, WireRequest

_CONNECT = "no connection within {} s"
_FIRST_BYTE = "no first byte within {} s"
_SILENCE = "the stream fell silent for {} s"
_TOTAL = "no complete answer within {} s"


class DirectTransport(Transport):
    """Unlimited connections: how many there are is decided by limits, not by a pool.

    Must be made inside a running event loop, and used in that loop only.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._loop = asyncio.get_running_loop()
        self._proxy_of = proxies_of(environ)
        self._origins: dict[Place, Origin] = {}
        self._context: ssl.SSLContext | None = None
        self._other: Transport | None = None
        self._closed = False

    @override
    async def send(self, request: WireRequest) -> Reply:
        plain = self._plain(request)
        if plain is None:
            return await self._otherwise().send(request)
        incoming = Incoming(streamed=False)
        await self.asked(request, *plain, incoming)
        assert incoming.headers is not None  # noqa: S101 - what is complete has a head
        return Reply(status=incoming.status, headers=incoming.headers, body=incoming.taken())

    @override
    def stream(self, request: WireRequest) -> AbstractAsyncContextManager[ReplyStream]:
        plain = self._plain(request)
        if plain is None:
            return self._otherwise().stream(request)
        return _Streaming(self, request, *plain)

    @override
    async def close(self) -> None:
        self._closed = True
        for origin in self._origins.values():
            origin.close()
        self._origins.clear()
        if self._other is not None:
            await self._other.close()
        await asyncio.sleep(0)  # In which the loop closes the sockets.

    async def asked(
        self, request: WireRequest, address: Address, head: bytes, incoming: Incoming
    ) -> Connection:
        """Send, and wait for the whole reply, or of a stream the head.

        Raises:
            GatewayError: It does not come.
        """
        timeouts, time = request.timeouts, self._loop.time
        total = incoming.total = Limit(time() + timeouts.total, timeouts.total, _TOTAL)
        while True:
            origin = self._origin_at(address.place)
            connection = origin.take()
            if connection is None:
                connect = total.sooner(time(), timeouts.connect, _CONNECT)
                connection = await origin.connect(connect)
            kept = connection.exchanges > 0
            limit = total
            if timeouts.first_byte is not None:
                limit = total.sooner(time(), timeouts.first_byte, _FIRST_BYTE)
            elif incoming.streamed:
                limit = total.sooner(time(), timeouts.idle, _SILENCE)
            try:
                await connection.ask(head, request.body, incoming, limit)
            except Unavailable:
                if not kept or request.method != "GET":
                    raise
                incoming.failure = None
            else:
                return connection

    def silence(self, timeouts: Timeouts, total: Limit) -> Limit:
        """The limit of the next piece of a stream."""
        return total.sooner(self._loop.time(), timeouts.idle, _SILENCE)

    def _plain(self, request: WireRequest) -> tuple[Address, bytes] | None:
        """Where it goes and the head of it; None: it is not for us."""
        if self._proxy_of is not None and self._proxy_of(request.url) is not None:
            return None
        address = address_of(request.url)
        if address is None:
            return None
        head = head_of(request.method, address, request.headers, len(request.body))
        return (address, head) if head is not None else None

    def _origin_at(self, place: Place) -> Origin:
        origin = self._origins.get(place)
        if origin is None:
            if self._closed:
                raise Unavailable("the transport is closed")
            # Those of addresses that a reload took away are forgotten here.
            self._origins = {p: known for p, known in self._origins.items() if known.is_used}
            origin = self._origins[place] = Origin(place, self._secured)
        return origin

    async def _secured(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = await asyncio.to_thread(_verifying)
        return self._context

    def _otherwise(self) -> Transport:
        if self._other is None:
            # Imported when it is needed: it takes as long as all the rest of the gateway.
            from gateway.http.aiohttp_transport import AiohttpTransport  # noqa: PLC0415

            self._other = AiohttpTransport(self._proxy_of)
        return self._other


class _Streaming(AbstractAsyncContextManager[ReplyStream]):
    """A stream from its head to its end, or to where it is left."""

    __slots__ = ("_address", "_connection", "_head", "_incoming", "_request", "_transport")

    def __init__(
        self, transport: DirectTransport, request: WireRequest, address: Address, head: bytes
    ) -> None:
        self._transport = transport
        self._request = request
        self._address = address
        self._head = head
        self._incoming = Incoming(streamed=True, cap=request.cap)
        self._connection: Connection | None = None

    @override
    async def __aenter__(self) -> ReplyStream:
        incoming = self._incoming
        connection = self._connection = await self._transport.asked(
            self._request, self._address, self._head, incoming
        )
        assert incoming.headers is not None  # noqa: S101 - the head is there
        pieces = _Pieces(self._transport, connection, incoming, self._request.timeouts)
        return ReplyStream(status=incoming.status, headers=incoming.headers, chunks=pieces)

    @override
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.leave(self._incoming)


class _Pieces(AsyncIterator[bytes]):
    """The body as it comes: all that is there at once."""

    __slots__ = ("_connection", "_incoming", "_timeouts", "_transport")

    def __init__(
        self,
        transport: DirectTransport,
        connection: Connection,
        incoming: Incoming,
        timeouts: Timeouts,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._incoming = incoming
        self._timeouts = timeouts

    @override
    async def __anext__(self) -> bytes:
        incoming = self._incoming
        while not incoming.pieces:
            if incoming.failure is not None:
                raise incoming.failure
            if incoming.complete:
                raise StopAsyncIteration
            assert incoming.total is not None  # noqa: S101 - it was asked
            limit = self._transport.silence(self._timeouts, incoming.total)
            await self._connection.progress(incoming, limit)
        piece = incoming.taken()
        if not incoming.complete:
            self._connection.go_on()
        return piece


def _verifying() -> ssl.SSLContext:
    """TLS as the machine trusts it; reading its certificates takes tens of milliseconds."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context

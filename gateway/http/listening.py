"""Listens to the replies of one endpoint for what the provider says of its limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from typing_extensions import override

from gateway.http.told import Reader, Told
from gateway.http.wire import Reply, ReplyStream, Transport, WireRequest


class Hearer(Protocol):
    """Who wants to know."""

    def heard(self, told: Told | None) -> None:
        """Called with every reply; None: it said nothing of limits."""
        ...


class ListeningTransport(Transport):
    """Another transport, whose replies are listened to."""

    def __init__(self, transport: Transport, vendor: str, hearer: Hearer) -> None:
        self._transport = transport
        self._reader = Reader(vendor)
        self._hearer = hearer

    @override
    async def send(self, request: WireRequest) -> Reply:
        reply = await self._transport.send(request)
        self._hearer.heard(self._reader.read(reply.status, reply.headers))
        return reply

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        async with self._transport.stream(request) as reply:
            self._hearer.heard(self._reader.read(reply.status, reply.headers))
            yield reply

    @override
    async def close(self) -> None:
        await self._transport.close()

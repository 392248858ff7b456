"""The seam: a request as bytes, a reply as bytes or as a stream, and who carries them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.config import Timeouts
from gateway.errors import MalformedAnswer
from gateway.http.failures import check

BODY_CAP = 32 * 1024 * 1024
"""Bytes; a longer reply is cut off and refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One HTTP request."""

    url: str = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Not shown, as the rest that keys travel in."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    cap: int | None = None
    """Bytes of the reply at most; None: `BODY_CAP`. More than that is only for streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive, or with lower-case names."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyStream:
    """An HTTP reply whose body is still coming."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    """Pieces as they arrive, cut anywhere."""


class Transport(Protocol):
    """Carries requests to providers. What it raises is a `GatewayError` already.

    Every status is a reply here; `call` and `streaming` judge it.
    """

    async def send(self, request: WireRequest) -> Reply:
        """Send, and read the whole reply."""
        ...

    def stream(self, request: WireRequest) -> AbstractAsyncContextManager[ReplyStream]:
        """Send, and read the reply piece by piece; leaving early cuts the connection."""
        ...

    async def close(self) -> None:
        """Give back every connection."""
        ...


async def call(transport: Transport, request: WireRequest) -> Reply:
    """Send and judge: whatever is not 2xx is raised as the `GatewayError` it means."""
    reply = await transport.send(request)
    check(reply.status, reply.headers, reply.body)
    return reply


@asynccontextmanager
async def streaming(transport: Transport, request: WireRequest) -> AsyncIterator[ReplyStream]:
    """Open a stream and judge its status before the first piece."""
    async with transport.stream(request) as reply:
        if not 200 <= reply.status < 300:  # noqa: PLR2004 - the class of successes
            check(reply.status, reply.headers, await whole(reply.chunks))
        yield reply


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    """All pieces as one.

    Raises:
        MalformedAnswer: They are longer than `BODY_CAP`.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > BODY_CAP:
            raise MalformedAnswer(f"the answer is longer than {BODY_CAP} bytes")
    return bytes(body)

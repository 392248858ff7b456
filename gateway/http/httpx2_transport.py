"""httpx2 at the seam, both ways: an httpx2 client as our transport, ours as an httpx2 transport."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar

import httpx2
from typing_extensions import override

from gateway.config import Timeouts
from gateway.errors import InvalidRequest, MalformedAnswer, TimedOut
from gateway.http.failures import check
from gateway.http.unreached import unreached
from gateway.http.wire import Reply, ReplyStream, Transport, WireRequest, whole


class Httpx2Transport(Transport):
    """Any httpx2 client, such as one over `httpx2.MockTransport`, as the gateway's transport."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    @classmethod
    def over(cls, transport: httpx2.AsyncBaseTransport) -> "Httpx2Transport":
        """Over a bare httpx2 transport."""
        return cls(httpx2.AsyncClient(transport=transport, trust_env=False))

    @override
    async def send(self, request: WireRequest) -> Reply:
        async with self.stream(request) as reply:
            return Reply(status=reply.status, headers=reply.headers, body=await whole(reply.chunks))

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        async with AsyncExitStack() as stack:
            with _failures():
                response = await stack.enter_async_context(
                    self._client.stream(
                        request.method,
                        request.url,
                        content=request.body,
                        headers={"accept-encoding": "identity", **request.headers},
                        timeout=_timeout(request.timeouts),
                        follow_redirects=False,
                    )
                )
            yield ReplyStream(
                status=response.status_code, headers=response.headers, chunks=_pieces(response)
            )

    @override
    async def close(self) -> None:
        await self._client.aclose()


REPLY_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("REPLY_HEADERS")
"""Headers of the last whole reply that `OverTransport` gave in this task; SDKs hide them."""


class OverTransport(httpx2.AsyncBaseTransport):
    """Our transport under an httpx2 client, for SDKs that bring one.

    Failures leave as `GatewayError`s, statuses included: the SDK never sees a bad reply and so
    never gets to interpret, retry or work around one.
    """

    def __init__(
        self, transport: Transport, timeouts: Timeouts, *, streamed: bool, bearer: str | None
    ) -> None:
        self._bearer = {"authorization": f"Bearer {bearer}"} if bearer else dict[str, str]()
        self._transport = transport
        self._timeouts = timeouts
        self._streamed = streamed

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        ours = WireRequest(
            method=request.method,
            url=str(request.url),
            body=await request.aread(),
            headers={k: v for k, v in request.headers.items() if k not in _OURS} | self._bearer,
            timeouts=self._timeouts,
        )
        if self._streamed:
            return await self._open(ours)
        reply = await self._transport.send(ours)
        check(reply.status, reply.headers, reply.body)
        REPLY_HEADERS.set(reply.headers)
        return httpx2.Response(reply.status, headers=_kept(reply.headers), content=reply.body)

    async def _open(self, request: WireRequest) -> httpx2.Response:
        stack = AsyncExitStack()
        try:
            reply = await stack.enter_async_context(self._transport.stream(request))
            if reply.status >= 300:  # noqa: PLR2004 - not a success
                check(reply.status, reply.headers, await whole(reply.chunks))
        except BaseException:
            await stack.aclose()
            raise
        stream = _Stream(reply.chunks, stack)
        return httpx2.Response(reply.status, headers=_kept(reply.headers), stream=stream)


_OURS = frozenset(
    {
        "authorization",  # An SDK's own choice of key, such as the user's token, goes nowhere.
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    gone = {"content-length", "transfer-encoding", "content-encoding"}
    return {k: v for k, v in headers.items() if k.lower() not in gone}


class _Stream(httpx2.AsyncByteStream):
    """Whole lines; characters that httpx2 would take for line ends are JSON-escaped.

    Inside server-sent JSON these bytes can only stand in strings, where both spellings are equal.
    """

    def __init__(self, chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        self._chunks = chunks
        self._stack = stack

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._chunks:
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                yield _escaped(lines + newline)
        if rest:
            yield _escaped(rest)

    @override
    async def aclose(self) -> None:
        await self._stack.aclose()


def _escaped(lines: bytes) -> bytes:
    return (
        lines.replace("\u2028".encode(), b"\\u2028")
        .replace("\u2029".encode(), b"\\u2029")
        .replace("\x85".encode(), b"\\u0085")
    )


async def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    with _failures():
        async for piece in response.aiter_bytes():
            yield piece


def _timeout(timeouts: Timeouts) -> httpx2.Timeout:
    return httpx2.Timeout(timeouts.total, connect=timeouts.connect)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn httpx2's failures into ours."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise TimedOut(f"no answer in time: {type(error).__name__}") from error
    except (httpx2.RemoteProtocolError, httpx2.DecodingError) as error:
        raise MalformedAnswer(f"the answer broke off: {error}") from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise InvalidRequest("what was made of the endpoint's address is no URL") from error
    except httpx2.HTTPError as error:
        raise unreached(error) from error

"""The transport for what is not plain: aiohttp, which knows proxies and odd addresses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from typing_extensions import override
from yarl import URL

from gateway.config import Timeouts
from gateway.errors import InvalidRequest, MalformedAnswer, TimedOut
from gateway.http.proxies import ProxyOf
from gateway.http.unreached import unreached, words_for
from gateway.http.wire import BODY_CAP, Reply, ReplyStream, Transport, WireRequest, whole

_PIECE = 64 * 1024
"""Bytes read at once from a stream."""
_KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept."""


class AiohttpTransport(Transport):
    """One session, unlimited connections: how many there are is decided by limits, not by a pool.

    Must be made inside a running event loop, and used in that loop only.
    """

    def __init__(self, proxy_of: ProxyOf | None = None) -> None:
        self._proxy_of = proxy_of
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Compressed JSON costs more CPU than loopback and data-centre networks cost time.
            headers={"Accept-Encoding": "identity", "User-Agent": "hikaku"},
            trust_env=False,
        )

    @override
    async def send(self, request: WireRequest) -> Reply:
        timeouts = request.timeouts
        timeout = aiohttp.ClientTimeout(total=timeouts.total, sock_connect=timeouts.connect)
        with _failures(timeouts):
            opened = self._open(request, timeout)
            response = await _begun(opened, timeouts.first_byte)
            async with response:
                body = await _whole_body(response)
        return Reply(status=response.status, headers=response.headers, body=body)

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        timeouts = request.timeouts
        timeout = aiohttp.ClientTimeout(
            total=timeouts.total,
            sock_connect=timeouts.connect,
            sock_read=max(timeouts.idle, timeouts.first_byte or 0),
        )
        with _failures(timeouts):
            response = await _begun(self._open(request, timeout), timeouts.first_byte)
        try:
            yield ReplyStream(
                status=response.status,
                headers=response.headers,
                chunks=_pieces(response, timeouts, request.cap or BODY_CAP),
            )
        finally:
            # Closes the connection if the body was not read to its end; pooled otherwise.
            response.close() if not response.content.is_eof() else response.release()

    @override
    async def close(self) -> None:
        await self._session.close()

    def _open(
        self, request: WireRequest, timeout: aiohttp.ClientTimeout
    ) -> "aiohttp.client._RequestContextManager":
        return self._session.request(
            request.method,
            _as_written(request.url),
            data=request.body or None,
            headers=request.headers,
            timeout=timeout,
            allow_redirects=False,
            proxy=self._proxy_of(request.url) if self._proxy_of is not None else None,
        )


async def _begun(
    opened: "aiohttp.client._RequestContextManager", limit: float | None
) -> aiohttp.ClientResponse:
    """The response, once its head is there.

    Raises:
        TimedOut: It did not come within `limit` seconds.
    """
    if limit is None:
        return await opened.__aenter__()
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await opened.__aenter__()
    except TimeoutError as error:
        if timer.expired():
            raise TimedOut(f"no first byte within {limit:g} s") from error
        raise


def _as_written(url: str) -> str | URL:
    """An address with escapes, not to be written anew: a signature may have been made over it."""
    return URL(url, encoded=True) if "%" in url and url.isascii() else url


async def _whole_body(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= BODY_CAP:
        return await response.read()
    return await whole(response.content.iter_any())


async def _pieces(
    response: aiohttp.ClientResponse, timeouts: Timeouts, cap: int
) -> AsyncIterator[bytes]:
    total = 0
    with _failures(timeouts):
        async for piece in response.content.iter_any():
            total += len(piece)
            if total > cap:
                raise MalformedAnswer(f"the answer is longer than {cap} bytes")
            if total == len(piece) and timeouts.first_byte is not None:
                _wait_between_pieces(response, timeouts.idle)
            yield piece


def _wait_between_pieces(response: aiohttp.ClientResponse, idle: float) -> None:
    """From the second piece on another limit holds than for the first."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = idle


@contextmanager
def _failures(timeouts: Timeouts) -> Iterator[None]:
    """Turn aiohttp's failures into ours."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise TimedOut(f"no connection within {timeouts.connect:g} s") from error
    except aiohttp.SocketTimeoutError as error:
        raise TimedOut(f"the stream fell silent for {timeouts.idle:g} s") from error
    except TimeoutError as error:
        raise TimedOut(f"no complete answer within {timeouts.total:g} s") from error
    except aiohttp.ClientPayloadError as error:
        raise MalformedAnswer(f"the answer broke off: {words_for(error)}") from error
    except ValueError as error:  # aiohttp's own for URLs is such a one, yarl has no other.
        raise InvalidRequest("what was made of the endpoint's address is no URL") from error
    except (aiohttp.ClientError, OSError) as error:
        raise unreached(error) from error

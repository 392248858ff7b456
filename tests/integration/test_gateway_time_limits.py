"""Each phase of a call has its own limit, held against real sockets that dawdle in it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from gateway.config import Timeouts
from gateway.errors import TimedOut
from gateway.http import DirectTransport, Transport, WireRequest, call, streaming
from gateway.http.aiohttp_transport import AiohttpTransport
from tests.integration.test_gateway_transport import upstream


@pytest.fixture(params=[DirectTransport, AiohttpTransport])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    made: Transport = request.param()
    yield made
    await made.close()


def dawdling(first: float, between: float, pieces: int):
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(first)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _piece in range(pieces):
            writer.write(b"2\r\nhi\r\n")
            await writer.drain()
            await asyncio.sleep(between)
        writer.write(b"0\r\n\r\n")

    return serve


async def streamed(transport: Transport, url: str, timeouts: Timeouts) -> int:
    request = WireRequest(url=url, body=b"{}", timeouts=timeouts)
    async with streaming(transport, request) as reply:
        return len(b"".join([piece async for piece in reply.chunks]))


async def test_connecting_has_its_limit(transport):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        others = [socket.socket() for _ in range(8)]  # A queue that is full answers no SYN.
        for other in others:
            other.setblocking(False)  # noqa: FBT003
            other.connect_ex(("127.0.0.1", port))
        begun = time.monotonic()
        request = WireRequest(url=f"http://127.0.0.1:{port}", timeouts=Timeouts(connect=0.2))
        with pytest.raises(TimedOut, match=r"no connection within 0\.2 s"):
            await call(transport, request)
        assert time.monotonic() - begun < 10
        for other in others:
            other.close()


async def test_the_first_byte_has_its_limit_for_whole_answers_and_streams(transport):
    limits = Timeouts(first_byte=0.1, idle=5, total=5)
    async with upstream(dawdling(0.5, 0, 1)) as url:
        with pytest.raises(TimedOut, match=r"no first byte within 0\.1 s"):
            await call(transport, WireRequest(url=url, body=b"{}", timeouts=limits))
        with pytest.raises(TimedOut, match=r"no first byte within 0\.1 s"):
            await streamed(transport, url, limits)


async def test_a_slow_beginning_may_take_longer_than_a_pause_later(transport):
    patient = Timeouts(first_byte=60, idle=1, total=60)
    async with upstream(dawdling(1.2, 0, 3)) as url:
        assert await streamed(transport, url, patient) == 6
    async with upstream(dawdling(0.1, 30, 3)) as url:
        with pytest.raises(TimedOut, match=r"silent for 1 s"):
            await streamed(transport, url, patient)


async def test_the_whole_has_its_limit_however_lively_it_is(transport):
    async with upstream(dawdling(0, 0.05, 100)) as url:
        with pytest.raises(TimedOut):
            await streamed(transport, url, Timeouts(idle=1, total=0.3))
        request = WireRequest(url=url, body=b"{}", timeouts=Timeouts(total=0.3))
        with pytest.raises(TimedOut, match=r"no complete answer within 0\.3 s"):
            await call(transport, request)

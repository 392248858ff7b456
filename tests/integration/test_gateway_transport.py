"""One contract for every transport, against raw sockets that misbehave."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import httpx2
import pytest

from gateway.client import Gateway
from gateway.config import Timeouts, parse
from gateway.errors import (
    EndpointUnavailable,
    GatewayError,
    MalformedAnswer,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.http import DirectTransport, Transport, WireRequest, call, streaming
from gateway.http.aiohttp_transport import AiohttpTransport
from gateway.http.httpx2_transport import Httpx2Transport
from gateway.types import ChatRequest, Message
from tests.support.gateway_server import serving

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = "赤です。👩‍👩‍👧".encode()
PATIENT = Timeouts(total=60, idle=60)
QUICK = Timeouts(total=0.5, idle=0.3)


@asynccontextmanager
async def upstream(serve: Serve) -> AsyncIterator[str]:
    """A server that reads each request and leaves the rest to `serve`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await serve(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


MAKERS: dict[str, Callable[[], Transport]] = {
    "direct": DirectTransport,
    "aiohttp": AiohttpTransport,
    "httpx2": lambda: Httpx2Transport(httpx2.AsyncClient(trust_env=False)),
}


@pytest.fixture(params=list(MAKERS))
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    made = MAKERS[request.param]()
    yield made
    await made.close()


def request(url: str, timeouts: Timeouts = PATIENT) -> WireRequest:
    return WireRequest(url=url, body=b"{}", timeouts=timeouts)


def head(status: str, length: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n".encode()


async def good(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head("200 OK", len(BODY)) + BODY)


async def truncated(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head("200 OK", len(BODY) + 99) + BODY)
    writer.close()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def redirecting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head("302 Found", 0, "location: http://127.0.0.1:1/\r\n"))


async def limiting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head("429 Too Many", 2, "Retry-After: 3\r\n") + b"{}")


async def not_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    writer.close()


async def test_bytes_come_back_as_they_were_sent(transport):
    async with upstream(good) as url:
        for _ in range(3):
            assert (await call(transport, request(url))).body == BODY
        async with streaming(transport, request(url)) as reply:
            assert b"".join([piece async for piece in reply.chunks]) == BODY


@pytest.mark.parametrize(
    ("serve", "kinds"),
    [
        (truncated, (MalformedAnswer,)),
        (reset, (Unavailable, MalformedAnswer)),
        (silent, (TimedOut,)),
        (redirecting, (EndpointUnavailable,)),
        (limiting, (RateLimited,)),
        (not_http, (Unavailable, MalformedAnswer)),
    ],
)
async def test_misbehaviour_has_a_name_whole_and_streamed(transport, serve, kinds):
    asked = QUICK if serve is silent else PATIENT
    async with upstream(serve) as url:
        with pytest.raises(GatewayError) as caught:
            await call(transport, request(url, asked))
        assert isinstance(caught.value, kinds)
        with pytest.raises(GatewayError) as caught:
            async with streaming(transport, request(url, asked)) as reply:
                [piece async for piece in reply.chunks]
        assert isinstance(caught.value, kinds)


async def test_nobody_listening_is_unavailable(transport):
    async with upstream(good) as url:
        pass
    with pytest.raises(Unavailable):
        await call(transport, request(url))


async def test_an_endless_answer_is_cut_off(transport, monkeypatch):
    monkeypatch.setattr("gateway.http.wire.BODY_CAP", 1_000_000)
    monkeypatch.setattr("gateway.http.aiohttp_transport.BODY_CAP", 1_000_000)

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _chunk in range(100):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()

    async with upstream(endless) as url:
        with pytest.raises(MalformedAnswer, match="longer than"):
            await call(transport, request(url))


async def test_a_stream_left_early_is_cut_and_the_upstream_notices(transport):
    noticed = asyncio.Event()

    async def streaming_for_ever(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        if await reader.read(1) == b"":
            noticed.set()
        raise ConnectionError

    async with upstream(streaming_for_ever) as url:
        async with streaming(transport, request(url)) as reply:
            assert await anext(reply.chunks) == b"hi"
        await asyncio.wait_for(noticed.wait(), 30)


async def test_a_cancelled_call_closes_its_connection(transport):
    noticed, arrived = asyncio.Event(), asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        arrived.set()
        if await reader.read(1) == b"":
            noticed.set()
        raise ConnectionError

    async with upstream(stuck) as url:
        slow = WireRequest(url=url, body=b"{}", timeouts=Timeouts())
        calling = asyncio.ensure_future(call(transport, slow))
        await asyncio.wait_for(arrived.wait(), 30)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.wait_for(noticed.wait(), 30)


async def test_five_hundred_questions_at_once_are_all_answered_and_leave_nothing_open():
    answer = b'{"choices":[{"message":{"content":"\xe8\xb5\xa4"},"finish_reason":"stop"}]}'

    async def model(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(head("200 OK", len(answer)) + answer)

    async with upstream(model) as url:
        config = f"""
endpoints:
- name: m
  endpoint_type: llm/v1/chat
  model: {{provider: openai-compatible, name: m, config: {{api_base: '{url}'}}}}
"""
        before = len(asyncio.all_tasks())
        async with Gateway(parse(config, {})) as gateway:
            question: Any = ChatRequest(
                endpoint="m", messages=(Message(role="user", content="りんごは何色ですか？"),)
            )
            answers = await asyncio.gather(*(gateway.ask(question) for _ in range(500)))
        assert {answer.text for answer in answers} == {"赤"}
        async with asyncio.timeout(30):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.02)
        gc.collect()  # An unclosed connection warns here, and warnings are errors.


async def test_a_client_that_leaves_in_mid_stream_cuts_the_call_to_the_model(tmp_path: Path):
    noticed = asyncio.Event()
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"\xe8\xb5\xa4"}}]}\n\n'

    async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        if await reader.read(1) == b"":
            noticed.set()
        raise ConnectionError

    async with upstream(talking) as url:
        config = tmp_path / "gateway.yaml"
        model = f"{{provider: vllm, name: m, config: {{api_base: '{url}'}}}}"
        entry = f"{{name: m, endpoint_type: llm/v1/chat, model: {model}}}"
        config.write_text(f"endpoints: [{entry}]", encoding="utf-8")
        started = serving(config)
        gateway = await asyncio.to_thread(started.__enter__)
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                body = {"model": "m", "messages": [], "stream": True}
                address = f"{gateway}/v1/chat/completions"
                async with client.stream("POST", address, json=body) as reply:
                    assert "赤" in await anext(reply.aiter_text())
                    assert not noticed.is_set()
            await asyncio.wait_for(noticed.wait(), 30)
        finally:
            await asyncio.to_thread(started.__exit__, None, None, None)

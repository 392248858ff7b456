"""What the transport of our own does with real sockets: kept connections, TLS, proxies, floods."""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Timeouts
from gateway.errors import EndpointUnavailable, InvalidRequest, TimedOut, Unavailable
from gateway.http import DirectTransport, WireRequest, call, streaming
from gateway.http.connection import Connection

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%s\r\nok"
Answer = Callable[[int, int, asyncio.StreamWriter], Awaitable[None]]
"""Number of the connection, and of the request on it, from 1."""


class Server:
    """Counts connections and requests; `answer` says what to do with each."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.open = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        self.writers.append(writer)
        try:
            for count in range(1, 1_000_000):
                head = await reader.readuntil(b"\r\n\r\n")
                _, found, rest = head.lower().partition(b"content-length:")
                body = await reader.readexactly(int(rest.split(b"\r\n")[0]) if found else 0)
                self.requests.append((number, head + body))
                await self.answer(number, count, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def server(
    answer: Answer, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Server, str]]:
    made = Server(answer)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield made, f"http{'s' if context else ''}://127.0.0.1:{port}/v1"
    finally:
        listening.close()
        for writer in made.writers:
            writer.close()
        await asyncio.sleep(0)


@pytest.fixture
async def transport() -> AsyncIterator[DirectTransport]:
    made = DirectTransport({})
    yield made
    await made.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def settled(found: Callable[[], bool]) -> None:
    """Wait for what has to become so."""
    async with asyncio.timeout(30):
        while not found():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


async def ok(_: int, __: int, writer: asyncio.StreamWriter) -> None:
    writer.write(OK % b"")


def post(url: str, body: bytes = b"{}", **more) -> WireRequest:
    return WireRequest(url=url, body=body, timeouts=Timeouts(total=60), **more)


async def test_one_connection_serves_one_call_after_the_other(transport):
    async with server(ok) as (heard, url):
        for _ in range(5):
            await call(transport, post(url, headers={"Authorization": "Bearer k"}))
        assert heard.connections == 1
        head, _, body = heard.requests[0][1].partition(b"\r\n\r\n")
        assert body == b"{}"
        assert head.split(b"\r\n")[0] == b"POST /v1 HTTP/1.1"
        assert b"authorization: Bearer k" in head
        assert b"host: 127.0.0.1:" in head


async def test_a_connection_that_was_closed_while_idle_is_not_used(transport):
    async def once(_: int, __: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK % b"")  # Says nothing of the end that follows.
        await writer.drain()
        writer.close()

    async with server(once) as (heard, url):
        for _ in range(3):
            await call(transport, post(url))
            await asyncio.sleep(0.05)
        assert heard.connections == 3


async def test_an_end_that_the_loop_has_not_seen_yet_is_looked_for(transport):
    """A loop that was busy hears of the end too late; the socket knows of it."""
    async with server(ok) as (heard, url):
        await call(transport, post(url))
        (origin,) = transport._origins.values()
        connection: Connection = next(iter(origin._idle))
        connection.idle_since -= 1.0
        assert connection.is_fresh(asyncio.get_running_loop().time())
        connection._transport.pause_reading()  # type: ignore[union-attr]
        heard.writers[0].close()
        await asyncio.sleep(0.1)
        assert connection in origin._idle
        await call(transport, post(url))
        assert heard.connections == 2


async def test_a_server_says_how_long_it_keeps_a_connection(transport):
    async def brief(_: int, __: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK % b"Keep-Alive: timeout=1\r\n")

    async with server(brief) as (heard, url):
        await call(transport, post(url))
        await call(transport, post(url))
        assert heard.connections == 2


async def test_a_post_that_may_have_been_heard_is_not_sent_again(transport):
    async def second_is_dropped(_: int, count: int, writer: asyncio.StreamWriter) -> None:
        if count == 2:
            writer.transport.abort()
        else:
            writer.write(OK % b"")

    async with server(second_is_dropped) as (heard, url):
        await call(transport, post(url))
        with pytest.raises(Unavailable):
            await call(transport, post(url))
        assert len(heard.requests) == 2
        await call(transport, post(url))
        get = WireRequest(url=url, method="GET", timeouts=Timeouts(total=60))
        assert (await call(transport, get)).body == b"ok"  # Its first try was dropped.
        assert [number for number, _ in heard.requests] == [1, 1, 2, 2, 3]


async def test_a_reply_that_does_not_wait_for_the_request_is_heard(transport):
    heard = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await heard.wait()  # The request is never read.
        writer.transport.abort()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    reply = await transport.send(post(url, body=b"x" * 20_000_000))
    assert (reply.status, reply.body) == (413, b"no")
    assert not any(origin._open for origin in transport._origins.values())
    heard.set()
    listening.close()
    await asyncio.sleep(0.05)


async def test_a_stream_that_nobody_reads_stops_its_server(transport):
    written = 0

    async def flood(_: int, __: int, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n")
        for _piece in range(300):
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    async with server(flood) as (_, url), streaming(transport, post(url)) as reply:
        length = len(await anext(reply.chunks))
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.2)
        assert written < 20_000_000
        async for piece in reply.chunks:
            length += len(piece)
        assert length == 30_000_000


async def test_a_thousand_calls_at_once_leave_no_file_task_or_connection_open(transport):
    async def later(_: int, __: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(OK % b"")

    async with server(later) as (heard, url):
        files, tasks = open_files(), len(asyncio.all_tasks())
        many = [asyncio.create_task(call(transport, post(url))) for _ in range(1000)]
        await asyncio.sleep(0.3)
        for task in many[::3]:
            task.cancel()
        ended = await asyncio.gather(*many, return_exceptions=True)
        assert {type(e).__name__ for e in ended} <= {"Reply", "CancelledError"}
        await transport.close()
        await settled(lambda: not heard.open)
        await settled(lambda: len(asyncio.all_tasks()) <= tasks and open_files() <= files + 1)
        with pytest.raises(Unavailable, match="closed"):
            await call(transport, post(url))


async def test_closing_ends_calls_that_still_wait(transport):
    async def silent(_: int, __: int, ___: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with server(silent) as (heard, url):
        waiting = asyncio.create_task(call(transport, post(url)))
        await settled(lambda: bool(heard.requests))
        await transport.close()
        with pytest.raises(Unavailable, match="closed on our side"):
            await waiting


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    names = "subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=test", "-addext", names, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_is_spoken_with_whom_the_machine_trusts(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    transport = DirectTransport({})
    async with server(ok, serving(certificate)) as (heard, url):
        for _ in range(3):
            assert (await call(transport, post(url, body=b"x" * 300_000))).body == b"ok"
        async with streaming(transport, post(url)) as reply:
            assert b"".join([piece async for piece in reply.chunks]) == b"ok"
        assert heard.connections == 1
        await transport.close()
        await settled(lambda: not heard.open)


async def test_tls_is_not_spoken_with_strangers_nor_with_the_deaf(certificate, transport):
    async with server(ok, serving(certificate)) as (heard, url):
        with pytest.raises(Unavailable, match="certificate"):
            await call(transport, post(url))
        assert not heard.requests
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}/"
        files = open_files()
        with pytest.raises(TimedOut, match=r"no connection within 0\.2 s"):
            await call(transport, WireRequest(url=url, timeouts=Timeouts(connect=0.2)))
        await settled(lambda: open_files() <= files)


async def test_a_name_is_looked_up(transport):
    async with server(ok) as (_, url):
        assert (await call(transport, post(url.replace("127.0.0.1", "localhost")))).body == b"ok"
    with pytest.raises(Unavailable):
        await call(transport, post("http://no-such-name.invalid/v1"))


async def test_what_is_far_goes_through_the_proxy_and_what_is_here_does_not():
    async with server(ok) as (proxy, proxy_url), server(ok) as (here, here_url):
        environ = {"HTTP_PROXY": proxy_url.removesuffix("/v1"), "no_proxy": "inside.example"}
        transport = DirectTransport(environ)
        assert (await call(transport, post("http://far.example/v1?a=1"))).body == b"ok"
        assert proxy.requests[0][1].startswith(b"POST http://far.example/v1?a=1 HTTP/1.1\r\n")
        await call(transport, post(here_url))
        assert len(here.requests) == len(proxy.requests) == 1
        assert transport._proxy_of is not None
        assert transport._proxy_of("http://www.inside.example/") is None
        assert transport._proxy_of("https://far.example/") is None
        await transport.close()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/a b", b"POST /v1/a%20b HTTP/1.1"),
        ("/赤?q=赤", b"POST /v1/%E8%B5%A4?q=%E8%B5%A4 HTTP/1.1"),
        ("/a%3Ab%2Fc", b"POST /v1/a%3Ab%2Fc HTTP/1.1"),
        ("/a#part", b"POST /v1/a HTTP/1.1"),
    ],
)
async def test_an_odd_address_arrives_quoted(transport, path, line):
    async with server(ok) as (heard, url):
        await call(transport, post(url + path))
        assert heard.requests[0][1].startswith(line)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "nothing", "http://", "http://h:99999/", "http://a\n/"]
)
async def test_what_is_no_address_is_the_callers_mistake(transport, url):
    with pytest.raises((InvalidRequest, Unavailable)):
        await call(transport, post(url))


@pytest.mark.parametrize("headers", [{"x": "a\r\nhost: b"}, {"x\r\ny": "a"}, {"x": "a\0"}])
async def test_a_header_cannot_begin_another(transport, headers):
    async with server(ok) as (heard, url):
        with pytest.raises(EndpointUnavailable, match="header"):
            await call(transport, post(url, headers=headers))
        assert not heard.requests

"""Replies as servers may send them, in whatever pieces the network makes of them; no socket."""

import asyncio
import gzip
import socket
import zlib
from typing import cast

import pytest

from gateway.errors import GatewayError, MalformedAnswer, TimedOut, Unavailable
from gateway.http.connection import Connection
from gateway.http.incoming import Incoming, Limit

TEXT = "赤です。👩‍👩‍👧".encode()
PACKED = gzip.compress(TEXT * 50)


class Wire:
    """What asyncio would give: notes what is done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.reading = True
        self.unsent = 0

    def write(self, piece: bytes) -> None:
        self.written += piece

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Shelf:
    def __init__(self) -> None:
        self.kept: list[Connection] = []

    def keep(self, connection: Connection) -> None:
        self.kept.append(connection)

    def forget(self, connection: Connection) -> None:
        if connection in self.kept:
            self.kept.remove(connection)


class Exchange:
    """One call on one connection, and what came of it."""

    def __init__(self, *, streamed: bool = False) -> None:
        self.shelf, self.wire = Shelf(), Wire()
        self.connection = Connection(self.shelf, cast("socket.socket", None))
        self.connection.connection_made(cast("asyncio.Transport", self.wire))
        self.incoming = self.ask(streamed=streamed)

    def ask(self, *, streamed: bool = False, seconds: float = 5) -> Incoming:
        incoming = Incoming(streamed=streamed)
        limit = Limit(asyncio.get_running_loop().time() + seconds, seconds, "no answer in {} s")
        incoming.total = limit
        self.task = asyncio.ensure_future(self.connection.ask(b"head", b"body", incoming, limit))
        return incoming

    async def hear(self, *pieces: bytes) -> None:
        await asyncio.sleep(0)
        for piece in pieces:
            self.connection.data_received(piece)

    async def answer(self) -> tuple[int, bytes]:
        await self.task
        return self.incoming.status, self.incoming.taken()

    async def failure(self) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.task
        assert self.wire.closed
        assert not self.shelf.kept
        return caught.value


def plain(body: bytes = TEXT, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), more, body)


def chunked(body: bytes, size: int = 7, more: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    framed = b"".join(b"%x;note=1\r\n%s\r\n" % (len(c), c) for c in chunks)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + more
    return head + b"\r\n" + framed + b"0\r\n" + trailers + b"\r\n"


REPLIES = {
    "of a length": (plain(), TEXT),
    "in chunks": (chunked(TEXT), TEXT),
    "with trailers": (chunked(TEXT, trailers=b"content-type: no\r\nx: y\r\n"), TEXT),
    "announced": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + plain(),
        TEXT,
    ),
    "compressed": (plain(PACKED, b"content-encoding: gzip\r\n"), TEXT * 50),
    "compressed in chunks": (chunked(PACKED, more=b"Content-Encoding: GZIP\r\n"), TEXT * 50),
    "deflated": (plain(zlib.compress(TEXT), b"content-encoding: deflate\r\n"), TEXT),
    "empty": (plain(b""), b""),
    "without content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", list(REPLIES))
async def test_a_reply_may_be_cut_anywhere(name):
    raw, body = REPLIES[name]
    cuts = [[raw[:at], raw[at:]] for at in range(len(raw))]
    cuts.append([raw[at : at + 1] for at in range(len(raw))])
    for pieces in cuts:
        exchange = Exchange()
        await exchange.hear(*(piece for piece in pieces if piece))
        assert await exchange.answer() == (
            204 if "204" in raw.decode("latin-1")[:20] else 200,
            body,
        )
        assert exchange.shelf.kept == [exchange.connection]


async def test_a_connection_is_used_again_and_nothing_of_the_last_call_is_left():
    exchange = Exchange()
    await exchange.hear(chunked(TEXT, more=b"keep-alive: timeout=5, max=9\r\nX-A: 1\r\nx-a: 2\r\n"))
    await exchange.task
    headers = exchange.incoming.headers
    assert headers is not None
    assert headers["x-A"] == "1, 2"
    assert exchange.connection.lasts == 5
    exchange.incoming = exchange.ask()
    await exchange.hear(plain(b"second"))
    assert await exchange.answer() == (200, b"second")
    assert "x-a" not in (exchange.incoming.headers or {"x-a"})


async def test_a_body_without_a_length_ends_with_the_connection():
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        exchange = Exchange()
        await exchange.hear(version + b" 200 OK\r\nserver: old\r\n\r\n" + TEXT)
        assert not exchange.task.done()
        exchange.connection.connection_lost(None)
        assert await exchange.answer() == (200, TEXT)
        assert not exchange.shelf.kept


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
async def test_what_comes_behind_a_reply_spoils_the_connection_and_not_the_reply(surplus):
    exchange = Exchange()
    await exchange.hear(plain() + surplus)
    assert await exchange.answer() == (200, TEXT)
    assert exchange.wire.closed
    later = Exchange()
    await later.hear(plain(), surplus)
    assert await later.answer() == (200, TEXT)
    assert later.wire.closed
    assert not later.shelf.kept


@pytest.mark.parametrize(
    "reply",
    [
        plain(more=b"connection: close\r\n"),
        plain().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_a_connection_that_its_server_ends_is_not_kept(reply):
    exchange = Exchange()
    await exchange.hear(reply)
    assert await exchange.answer() == (200, TEXT)
    assert exchange.wire.closed
    assert not exchange.shelf.kept


async def test_a_reply_before_the_request_was_sent_is_heard_and_the_connection_closed():
    exchange = Exchange()
    exchange.wire.unsent = 5
    await exchange.hear(plain(b"too long").replace(b"200 OK", b"413 No"))
    assert await exchange.answer() == (413, b"too long")
    assert exchange.wire.closed


BROKEN = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n",
    "a length below zero": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "a length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n"
    b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "a chunk size that is none": chunked(TEXT).replace(b"7;", b"g;"),
    "a chunk size too large": chunked(TEXT).replace(b"7;", b"fffffffffffffffff;"),
    "a chunk longer than it says": chunked(TEXT).replace(b"7;", b"3;"),
    "another coding": chunked(TEXT).replace(b": chunked", b": gzip, chunked"),
    "an unknown encoding": plain(TEXT, b"content-encoding: br\r\n"),
    "text that is not compressed": plain(TEXT, b"content-encoding: gzip\r\n"),
    "compressed text cut short": plain(PACKED[:-9], b"content-encoding: gzip\r\n"),
    "something behind compressed text": plain(PACKED + b"x", b"content-encoding: gzip\r\n"),
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: h2\r\nconnection: upgrade\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300,
    "announcements without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    "trailers without end": chunked(TEXT)[:-2] + b"a: b\r\n" * 300,
    "a header with a line break": b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", list(BROKEN))
@pytest.mark.parametrize("step", [1, 1000, 10**9])
async def test_what_is_no_answer_is_refused_and_the_connection_closed(name, step):
    raw = BROKEN[name]
    exchange = Exchange()
    await asyncio.sleep(0)
    for at in range(0, len(raw), step):
        exchange.connection.data_received(raw[at : at + step])
        if exchange.wire.closed:
            break
    assert isinstance(await exchange.failure(), MalformedAnswer)


async def test_a_small_reply_may_not_grow_beyond_the_limit(monkeypatch):
    monkeypatch.setattr("gateway.http.wire.BODY_CAP", 1_000_000)
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < 60_000
    for raw in (plain(bomb, b"content-encoding: gzip\r\n"), plain(b"0" * 1_000_001)):
        exchange = Exchange()
        await exchange.hear(raw)
        failure = await exchange.failure()
        assert "longer than 1000000 bytes" in failure.message
        assert exchange.incoming.size <= 1_000_001


@pytest.mark.parametrize("name", ["of a length", "in chunks", "compressed"])
async def test_an_end_before_the_end_is_no_answer(name):
    raw, _ = REPLIES[name]
    for at in range(len(raw)):
        for reason in (None, ConnectionResetError("reset")):
            exchange = Exchange()
            await exchange.hear(*([raw[:at]] if at else []))
            exchange.connection.connection_lost(reason)
            with pytest.raises(MalformedAnswer if at else Unavailable):
                await exchange.task


async def test_words_without_a_question_close_an_idle_connection():
    exchange = Exchange()
    await exchange.hear(plain())
    await exchange.task
    exchange.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert exchange.wire.closed
    assert not exchange.shelf.kept


async def test_a_call_that_is_given_up_closes_its_connection_and_no_other():
    exchange = Exchange()
    await asyncio.sleep(0)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange.task
    assert exchange.wire.closed
    taken_over = Exchange()
    await taken_over.hear(plain())
    first = taken_over.task
    taken_over.ask()  # Another call has the connection before the first one wakes.
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not taken_over.wire.closed
    await taken_over.hear(plain())
    await taken_over.task


async def test_each_call_of_a_connection_has_its_own_limit():
    exchange = Exchange()
    await exchange.hear(plain())
    await exchange.task
    loop = asyncio.get_running_loop()
    exchange.ask(seconds=0.3)
    await exchange.hear(plain())
    await exchange.task
    begun = loop.time()  # The timer of the first call would ring late, that of the second early.
    exchange.ask(seconds=0.5)
    with pytest.raises(TimedOut, match=r"no answer in 0\.5 s"):
        await exchange.task
    assert loop.time() - begun >= 0.499
    assert exchange.wire.closed


async def test_a_stream_is_told_step_by_step_and_held_back_when_nobody_takes_it():
    exchange = Exchange(streamed=True)
    await exchange.hear(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    await exchange.task
    assert exchange.incoming.status == 200
    piece = b"x" * 65_536
    for _ in range(4):
        await exchange.hear(b"10000\r\n" + piece + b"\r\n")
    assert exchange.wire.reading
    await exchange.hear(b"10000\r\n" + piece + b"\r\n")
    assert not exchange.wire.reading
    assert exchange.incoming.taken() == piece * 5
    exchange.connection.go_on()
    assert exchange.wire.reading
    await exchange.hear(b"0\r\n\r\n")
    assert exchange.incoming.complete
    assert exchange.shelf.kept == [exchange.connection]

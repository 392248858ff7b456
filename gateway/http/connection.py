"""One connection to one server: HTTP/1.1, one exchange at a time."""

import asyncio
import math
import socket
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from typing_extensions import override

from gateway.errors import GatewayError, MalformedAnswer, Unavailable, Unreachable
from gateway.http.incoming import Incoming, Limit
from gateway.http.unreached import unreached, words_for

_HEAD_CAP = 64 * 1024
"""Bytes without any of the body among them, after which a reply is refused."""
_MOST_HEADERS = 200
_HELD = 256 * 1024
"""Bytes of a stream that nobody took yet, at which no more are read."""
_JOINED = 64 * 1024
"""Bytes up to which a body is copied behind its head, to leave in one packet."""
_TELLING = frozenset(
    {b"content-length", b"content-encoding", b"transfer-encoding", b"keep-alive"}
)  # fmt: skip
_NO_CONTENT = frozenset({204, 304})
_FINAL = 200
"""The lowest status that is an answer; those below announce one."""
_SWITCHING = 101
_RESTED = 0.5
"""Seconds after which a kept connection is looked at before it is used: a peek costs a call."""


class Keeper(Protocol):
    """Who owns connections, and is told what becomes of them."""

    def keep(self, connection: "Connection") -> None:
        """It is free for another exchange."""
        ...

    def forget(self, connection: "Connection") -> None:
        """It is gone."""
        ...


class Connection(asyncio.Protocol):
    """Sends a request and collects its reply.

    An exchange has it from `ask` until its `Incoming` is complete or failed. From then on
    it may be another's, so that whoever waited looks at the `Incoming` alone.
    """

    __slots__ = (
        "_bare", "_encoding", "_headers", "_incoming", "_keeper", "_known", "_limit", "_loop",
        "_parser", "_paused", "_reusable", "_rings_at", "_sock", "_timer", "_transport",
        "_waiter", "exchanges", "idle_since", "lasts",
    )  # fmt: skip

    def __init__(self, keeper: Keeper, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._sock = sock
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._incoming: Incoming | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._limit: Limit | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self._paused = False
        self._reusable = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._encoding = b""
        self._known = False
        """Whether the head says where the body ends."""
        self._bare = 0
        self.exchanges = 0
        """Begun here so far."""
        self.idle_since = 0.0
        self.lasts: float | None = None
        """Seconds for which the server says it keeps an idle connection."""

    # What an exchange does with it.

    async def ask(self, head: bytes, body: bytes, incoming: Incoming, limit: Limit) -> None:
        """Send a request; wait until the whole reply is there, or of a stream the head.

        Raises:
            GatewayError: Neither will be; the connection is closed then.
        """
        assert self._transport is not None  # noqa: S101 - it is connected when it is given out
        self._incoming = incoming
        self._bare = 0
        self.exchanges += 1
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        await self.progress(incoming, limit)

    async def progress(self, incoming: Incoming, limit: Limit) -> None:
        """Wait for the next step of the reply.

        Raises:
            GatewayError: It does not come.
        """
        waiter = self._waiter = self._loop.create_future()
        self._limit = limit
        if self._rings_at > limit.at:
            self._set_timer(limit.at)
        try:
            await waiter
        except BaseException:
            self.leave(incoming)
            raise
        if incoming.failure is not None:
            raise incoming.failure

    def go_on(self) -> None:
        """Read on: what was there has been taken."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def leave(self, incoming: Incoming) -> None:
        """Give up an exchange; one that is not complete cuts the connection."""
        if self._incoming is incoming:
            self.abort()

    def abort(self) -> None:
        """Cut the connection; a call that waits here fails."""
        incoming = self._incoming
        if incoming is not None and incoming.failure is None:
            incoming.failure = Unavailable("the connection was closed on our side")
            self._wake()
        self._incoming = self._limit = None
        self._keeper.forget(self)
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent on it."""
        return self._transport is None or self._transport.is_closing()

    def is_fresh(self, now: float) -> bool:
        """Whether the server has left a kept connection open, as far as can be seen from here."""
        if self.is_closed:
            return False
        if now - self.idle_since < _RESTED:
            return True
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False  # Its end, or words that answer nothing.

    # What asyncio says.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None:
            self.abort()  # Words without a question, such as "408" before it closes.
            return
        size = incoming.size
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not incoming.complete:
                self._fail(_misread(error))
                return
            self._reusable = False  # More came than was announced.
        if incoming.complete:
            self._complete()
            return
        if incoming.size > size:
            self._bare = 0
        else:
            self._bare += len(data)
            if self._bare > _HEAD_CAP:
                self._fail(MalformedAnswer(f"more than {_HEAD_CAP} bytes without an answer"))
                return
        if incoming.streamed and (incoming.pieces or incoming.status):
            self._step(incoming)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        incoming, self._transport = self._incoming, None
        if incoming is not None and exc is None and incoming.status and not self._known:
            self._end_by_closing(incoming)
        elif incoming is not None:
            incoming.failure = self._lost(incoming, exc)
        self._incoming = None
        self._wake()
        self._keeper.forget(self)

    # What the parser says.

    def on_message_begin(self) -> None:
        """A reply, or the announcement of one; never after the end of the one asked for."""
        if self._incoming is None or self._incoming.complete:
            raise MalformedAnswer("more than one answer came")
        self._headers = []
        self._encoding = b""
        self._known = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head, or after a chunked body, where it says nothing to us."""
        self._headers.append((name, value))
        if (lowered := name.lower()) in _TELLING:
            self._tell(lowered, value)
        if len(self._headers) > _MOST_HEADERS:
            raise MalformedAnswer(f"the answer has more than {_MOST_HEADERS} headers")

    def on_headers_complete(self) -> None:
        """The head is there."""
        status = self._parser.get_status_code()
        incoming = self._incoming
        if incoming is None or status < _FINAL:
            if status == _SWITCHING:
                raise MalformedAnswer("the server switched to another protocol")
            return
        self._known = self._known or status in _NO_CONTENT
        incoming.begin(status, self._headers, self._encoding)
        self._headers = []
        if not incoming.streamed:
            self._limit = incoming.total

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if self._incoming is not None:
            self._incoming.take(piece)

    def on_message_complete(self) -> None:
        """The end of the reply, or of what announced it."""
        incoming = self._incoming
        if incoming is not None and incoming.status:
            incoming.end()
            self._reusable = self._parser.should_keep_alive()

    def _tell(self, name: bytes, value: bytes) -> None:
        value = value.strip().lower()
        if name == b"content-encoding":
            self._encoding = value
        elif name == b"keep-alive":
            _, found, seconds = value.partition(b"timeout=")
            digits = seconds.partition(b",")[0].strip()
            self.lasts = float(digits) if found and digits.isdigit() else None
        else:
            self._known = True
            if name == b"transfer-encoding" and value != b"chunked":
                raise MalformedAnswer(f"the answer is sent as {value.decode('latin-1')}")

    # What follows from it.

    def _step(self, incoming: Incoming) -> None:
        """Something new is there of a stream."""
        self._wake()
        if self._paused or self._transport is None:
            return
        if sum(map(len, incoming.pieces)) > _HELD:
            self._paused = True
            self._transport.pause_reading()

    def _complete(self) -> None:
        """The whole reply is there: the connection is free, or has served its time."""
        transport = self._transport
        self._incoming = self._limit = None
        self._wake()
        # A reply that came before its request was sent leaves the rest of that in the way.
        if transport is None or not self._reusable or transport.get_write_buffer_size():
            self.abort()
            return
        self.go_on()
        self.idle_since = self._loop.time()
        self._keeper.keep(self)

    def _end_by_closing(self, incoming: Incoming) -> None:
        try:
            incoming.end()
        except MalformedAnswer as error:
            incoming.failure = error

    def _lost(self, incoming: Incoming, exc: Exception | None) -> GatewayError:
        if incoming.status or self._bare:
            why = words_for(exc) if exc is not None else "the connection was closed"
            return MalformedAnswer(f"the answer broke off: {why}")
        if exc is not None:
            return unreached(exc)
        return Unreachable("the server closed the connection without an answer")

    def _fail(self, failure: GatewayError) -> None:
        incoming = self._incoming
        if incoming is not None:
            incoming.failure = failure
        self._wake()
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def _set_timer(self, at: float) -> None:
        """One timer for all exchanges: it is moved when it rings too early, not at each of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        limit = self._limit
        if limit is None or self._waiter is None:
            return
        if limit.at > self._loop.time():
            self._set_timer(limit.at)
        else:
            self._fail(limit.missed())


def _misread(error: Exception) -> GatewayError:
    """What the parser choked on, or what we refused ourselves while it read."""
    if isinstance(error.__context__, GatewayError):
        return error.__context__
    return MalformedAnswer(f"the answer is no HTTP: {error}")

"""One HTTP exchange of any surface: read the body, answer, stream, notice that the client left.

Plain ASGI: a framework's request and response objects cost more than all the rest of a call.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from gateway.errors import GatewayError, InvalidRequest, MalformedAnswer, Unavailable
from gateway.surfaces.watch import Watch
from gateway.tickets import Ticket
from gateway.types import JSON

BODY_CAP = 32 * 1024 * 1024
"""Bytes of a request; images inside messages fit, a mistake does not."""
BODY_PAUSE = 30.0
"""Seconds without a byte of a request body, after which it is not waited for."""
CLIENT_LEFT = 499
"""Nobody reads it; access logs do."""
DONE = b"data: [DONE]\n\n"
"""How a stream of OpenAI's dialect ends."""

_JSON = (b"content-type", b"application/json")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}", re.ASCII)

RawHeaders = list[tuple[bytes, bytes]]

T = TypeVar("T")


class BodyTooLargeError(InvalidRequest):
    """The request body is longer than `BODY_CAP`."""

    def __init__(self) -> None:
        super().__init__(f"the request body is longer than {BODY_CAP} bytes", status=413)


class BodyTooSlowError(InvalidRequest):
    """The rest of the request body did not come."""

    def __init__(self) -> None:
        message = f"nothing more of the request body came for {BODY_PAUSE:g} s"
        super().__init__(message, status=408)


class NotJsonError(InvalidRequest):
    """The request body is not JSON."""

    def __init__(self, raw: bytes) -> None:
        self.reason, self.position = _first_mistake(raw)
        super().__init__(f"the body is not valid JSON: {self.reason} (byte {self.position})")


class NotAnObjectError(InvalidRequest):
    """The request body is JSON, but no object."""

    def __init__(self, value: JSON) -> None:
        super().__init__("the body must be a JSON object")
        self.value = value


class ClientLeftError(Exception):
    """The client closed its connection before the answer was there."""


def encode(value: object) -> bytes:
    """JSON, UTF-8, unescaped."""
    return msgspec.json.encode(value)


class Call:
    """One request, read as far as somebody asked."""

    __slots__ = ("_headers", "_ticket", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._ticket: Ticket | None = None

    @property
    def ticket(self) -> Ticket:
        """Goes with the question to the gateway, and says afterwards how it went."""
        if self._ticket is None:
            state = self.scope.get("state") or {}
            self._ticket = Ticket(
                request_id=state.get("request_id") or self._request_id(),
                caller=state.get("caller"),
                sticky=self.header(b"x-hikaku-sticky") or None,
                fresh="no-cache" in self.header(b"cache-control"),
            )
        return self._ticket

    def told(self) -> RawHeaders:
        """Headers about how it went; none when no model was asked."""
        return self._ticket.raw_headers() if self._ticket is not None else []

    @property
    def path(self) -> str:
        """Where the request went, decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def host(self) -> str:
        """The caller's address, or nothing when the server does not know it."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def parameter(self, name: str) -> str:
        """A part of the path."""
        value: str = self.scope["path_params"][name]
        return value

    def query(self, name: str) -> str | None:
        """The last value of a query parameter."""
        pairs = parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return dict(pairs).get(name)

    def header(self, name: bytes) -> str:
        """The header of this lower-case name, or nothing."""
        value = self._headers.get(name)
        return value.decode("latin-1") if value is not None else ""

    def _request_id(self) -> str | None:
        given = self.header(b"x-request-id")
        return given if _REQUEST_ID.fullmatch(given) else None

    async def raw_body(self) -> bytes:
        """The whole body.

        Raises:
            BodyTooLargeError: It is too long.
            BodyTooSlowError: It stopped.
            ClientLeftError: It broke off.
        """
        announced = self.header(b"content-length")
        if announced.isdecimal() and int(announced) > BODY_CAP:
            raise BodyTooLargeError  # Before it is sent: curl asks first.
        pieces: list[bytes] = []
        length = 0
        while (message := await self._piece())["type"] == "http.request":
            pieces.append(message.get("body", b""))
            length += len(pieces[-1])
            if length > BODY_CAP:
                raise BodyTooLargeError
            if not message.get("more_body"):
                return b"".join(pieces)
        raise ClientLeftError

    async def _piece(self) -> Message:
        try:
            async with asyncio.timeout(BODY_PAUSE):
                return await self.receive()
        except TimeoutError:
            raise BodyTooSlowError from None

    async def body(self) -> dict[str, JSON]:
        """The body as a JSON object.

        Raises:
            NotJsonError: It is no JSON.
            NotAnObjectError: It is something else.
            BodyTooLargeError: It is too long.
            BodyTooSlowError: It stopped.
        """
        raw = await self.raw_body()
        try:
            parsed: Any = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotJsonError(raw) from error
        if not isinstance(parsed, dict):
            raise NotAnObjectError(parsed)
        return parsed


class Reply(Protocol):
    """What a handler gives back."""

    async def deliver(self, receive: Receive, send: Send, told: RawHeaders) -> None:
        """Send it, with headers about how it went."""
        ...


class Whole(Reply):
    """An answer that is there."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers

    @override
    async def deliver(self, receive: Receive, send: Send, told: RawHeaders) -> None:
        headers = [_JSON, (b"content-length", b"%d" % len(self.body)), *told]
        if self.headers:
            headers += raw_headers(self.headers)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


Handler = Callable[[Call], Awaitable[Reply]]
Failed = Callable[[GatewayError], Whole]


class Door:
    """An ASGI application: one handler, and how its surface words a failure."""

    __slots__ = ("_failed", "_handler")

    def __init__(self, handler: Handler, failed: Failed) -> None:
        self._handler = handler
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        call = Call(scope, receive)
        try:
            reply = await self._handler(call)
        except GatewayError as error:
            reply = self._failed(error)
        except ClientLeftError:
            reply = Whole(b"", status=CLIENT_LEFT)
        await reply.deliver(receive, send, call.told())


def route(method: str | Sequence[str], path: str, handler: Handler, failed: Failed) -> Route:
    """A route that leads to a handler."""
    methods = [method] if isinstance(method, str) else method
    return Route(path, Door(handler, failed), methods=methods, include_in_schema=False)


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        ClientLeftError: It left.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has a task
    watch = Watch(receive, task)
    if watch.left:
        work.close()
        raise ClientLeftError
    try:
        return await work
    except asyncio.CancelledError:
        if watch.left and task.uncancel() == 0:
            raise ClientLeftError from None
        raise
    finally:
        watch.end()


def _first_mistake(raw: bytes) -> tuple[str, int]:
    """What is wrong with a body, and at which byte; asked only when it is known to be wrong."""
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        return error.msg, error.pos
    except UnicodeDecodeError as error:
        return "not UTF-8", error.start
    except RecursionError:
        return "nested too deeply", 0
    return "not strict JSON", 0


async def data_frames(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Each chunk as an event without a name."""
    async with aclosing(chunks):
        async for chunk in chunks:
            yield b"data: " + chunk + b"\n\n"


def data_frame(body: bytes) -> bytes:
    """An event without a name."""
    return b"data: " + body + b"\n\n"


def named_frame(event: dict[str, JSON]) -> bytes:
    """An event that is named by its `type`."""
    return f"event: {event['type']}\n".encode() + b"data: " + encode(event) + b"\n\n"


class EventStream(Reply):
    """Server-sent events as they come.

    The first has arrived before the response begins, so that a failure before it has its own
    status. A later failure arrives as an event, and the stream ends.
    """

    _HEADERS = (
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
    )

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        *,
        failure: Callable[[GatewayError], bytes],
        end: bytes,
    ) -> None:
        self._first = first
        self._rest = rest
        self._failure = failure
        self._end = end

    @classmethod
    async def begin(
        cls,
        frames: AsyncGenerator[bytes, None],
        *,
        failure: Callable[[GatewayError], bytes],
        end: bytes = DONE,
    ) -> "EventStream":
        """Wait for the first frame.

        Args:
            frames: Whole events, empty line included; the first only when there is an answer.
            failure: The event that says what went wrong.
            end: What follows the last frame.

        Raises:
            GatewayError: There was a failure instead.
        """
        try:
            first = await anext(frames)
        except StopAsyncIteration:
            raise MalformedAnswer("the stream ended before it began") from None
        return cls(first, frames, failure=failure, end=end)

    @override
    async def deliver(self, receive: Receive, send: Send, told: RawHeaders) -> None:
        async with aclosing(self._rest):
            try:
                await while_connected(receive, self._send(send, told))
            except ClientLeftError:
                return

    async def _send(self, send: Send, told: RawHeaders) -> None:
        headers = [*self._HEADERS, *told]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _frame(send, self._first)
        try:
            async for frame in self._rest:
                await _frame(send, frame)
        except GatewayError as error:
            await _frame(send, self._failure(error))
        except Exception:
            await _frame(send, self._failure(Unavailable("the gateway failed inside the stream")))
            raise
        await send({"type": "http.response.body", "body": self._end})


async def _frame(send: Send, frame: bytes) -> None:
    await send({"type": "http.response.body", "body": frame, "more_body": True})

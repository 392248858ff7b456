"""One HTTP exchange of any surface: read the body, answer, stream, notice that the client left."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from gateway.errors import GatewayError, InvalidRequest, MalformedAnswer, Unavailable
from gateway.types import JSON

BODY_CAP = 32 * 1024 * 1024
"""Bytes of a request; images inside messages fit, a mistake does not."""
CLIENT_LEFT = 499
"""Nobody reads it; access logs do."""

T = TypeVar("T")


class BodyTooLargeError(InvalidRequest):
    """The request body is longer than `BODY_CAP`."""

    def __init__(self) -> None:
        super().__init__(f"the request body is longer than {BODY_CAP} bytes", status=413)


class ClientLeftError(Exception):
    """The client closed its connection before the answer was there."""


def encode(value: object) -> bytes:
    """JSON, UTF-8, unescaped."""
    return msgspec.json.encode(value)


def json_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON that is written already."""
    return Response(body, status, headers, media_type="application/json")


async def read_body(request: Request) -> dict[str, JSON]:
    """The request body as a JSON object.

    Raises:
        InvalidRequest: It is none.
        BodyTooLargeError: It is too long.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_CAP:
            raise BodyTooLargeError
    try:
        parsed: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InvalidRequest("the body must be a JSON object")
    return parsed


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        ClientLeftError: It left.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has a task
    left = False

    def leave(_: object) -> None:
        nonlocal left
        if not watcher.cancelled():
            left = True
            task.cancel()

    watcher = asyncio.ensure_future(_disconnect(receive))
    watcher.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise ClientLeftError from None
        raise
    finally:
        watcher.remove_done_callback(leave)
        watcher.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events: `data:` chunks as they come, then `[DONE]`.

    The first chunk has arrived before the response begins, so that a failure before it has its
    own status. A later failure arrives as an event, and the stream ends.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        *,
        failure: Callable[[GatewayError], bytes],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._failure = failure

    @classmethod
    async def begin(
        cls, chunks: AsyncGenerator[bytes, None], *, failure: Callable[[GatewayError], bytes]
    ) -> "EventStream":
        """Wait for the first chunk.

        Raises:
            GatewayError: There was a failure instead.
        """
        try:
            first = await anext(chunks)
        except StopAsyncIteration:
            raise MalformedAnswer("the stream ended before it began") from None
        return cls(first, chunks, failure=failure)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            try:
                await while_connected(receive, self._send(send))
            except ClientLeftError:
                return

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await _event(send, self._first)
        try:
            async for chunk in self._rest:
                await _event(send, chunk)
        except GatewayError as error:
            await _event(send, self._failure(error))
        except Exception:
            await _event(send, self._failure(Unavailable("the gateway failed inside the stream")))
            raise
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _event(send: Send, chunk: bytes) -> None:
    body = b"data: " + chunk + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


def retry_headers(error: GatewayError) -> dict[str, str]:
    """`Retry-After` in whole seconds, rounded up, when the provider gave one."""
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(-int(-error.retry_after.total_seconds() // 1))}

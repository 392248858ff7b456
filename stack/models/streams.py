"""Generations on their way out: as server-sent events, and cancelled when nobody listens."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stack.models.answers import Json
from stack.models.errors import ModelServerError
from stack.models.generation import Ended, Token
from stack.models.served import ServedModel


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


_EOS_EVENT = Token(id=0, text="", logprob=None, special=True)
"""Stands for the last token where there was none."""


_Result = TypeVar("_Result")


async def while_connected(request: Request, call: Awaitable[_Result]) -> _Result:
    """Await the call, cancelling it when the client goes away.

    Raises:
        ClientGoneError: It went away.
    """
    working = asyncio.ensure_future(call)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def paired(
    pieces: AsyncGenerator[Token | Ended],
) -> AsyncGenerator[tuple[Token, Ended | None]]:
    """Give every token, the last together with how it ended: streams say that in one event."""
    held: Token | None = None
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Ended):
                yield held or _EOS_EVENT, piece
                return
            if held is not None:
                yield held, None
            held = piece


def stream(
    served: ServedModel,
    events: AsyncGenerator[Json],
    *,
    error: Callable[[ModelServerError], Json],
    characters: int,
    done: bool = False,
) -> Response:
    """Send events as they come; in a stream even a refusal is an event, after a status of 200."""
    served.counts.requests += 1

    async def lines() -> AsyncIterator[str]:
        try:
            async with AsyncExitStack() as held:
                await held.enter_async_context(served.admission())
                await held.enter_async_context(aclosing(events))
                async for event in events:
                    yield _line(event)
            served.counts.successes += 1
        except ModelServerError as failure:
            served.counts.failed(failure.kind)
            yield _line(error(failure))
        if done:
            yield "data: [DONE]\n\n"

    headers = {
        "x-compute-type": "cpu+llama.cpp",
        "x-compute-characters": str(characters),
        "x-accel-buffering": "no",
    }
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


def _line(event: Json) -> str:
    return f"data:{json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"

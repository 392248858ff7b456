"""Streams on their way through: the time limit of the first chunk, and the counts in the last."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from gateway.config import Timeouts
from gateway.errors import MalformedAnswer, TimedOut
from gateway.types import Usage


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Chunk(msgspec.Struct):
    usage: _Counts | None = None
    response: "_Chunk | None" = None
    """Where the Responses API keeps its counts."""


_CHUNK = msgspec.json.Decoder(_Chunk)


async def first_of(chunks: AsyncGenerator[bytes, None], timeouts: Timeouts) -> bytes:
    """The first chunk.

    Raises:
        TimedOut: It did not come in time.
        MalformedAnswer: There is none.
    """
    limit = timeouts.first_byte
    try:
        if limit is None:
            return await anext(chunks)
        async with asyncio.timeout(limit):
            return await anext(chunks)
    except StopAsyncIteration:
        raise MalformedAnswer("the stream ended before it began") from None
    except TimeoutError as error:
        raise TimedOut(f"no first byte within {limit:g} s") from error


def usage_in(chunk: bytes) -> Usage | None:
    """The token counts of a chunk; None in all but one. Looks before it reads."""
    if b'_tokens":' not in chunk and b'_tokens" :' not in chunk:
        return None
    try:
        parsed = _CHUNK.decode(chunk)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    counts = parsed.usage or (parsed.response.usage if parsed.response else None)
    if counts is None:
        return None
    heard, said = counts.prompt_tokens, counts.completion_tokens
    return Usage(
        input_tokens=heard if heard is not None else counts.input_tokens,
        output_tokens=said if said is not None else counts.output_tokens,
    )

"""Streams on their way through: the time limit of the first chunk, and the counts in the last."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from gateway.config import Timeouts
from gateway.errors import MalformedAnswer, TimedOut
from gateway.types import Usage


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    thinking_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Chunk(msgspec.Struct):
    usage: _Counts | None = None
    response: "_Chunk | None" = None
    """Where the Responses API keeps its counts."""
    message: "_Chunk | None" = None
    """Where the first event of Anthropic's has what was read."""


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


def usage_in(chunk: bytes, before: Usage) -> Usage:
    """The token counts of a chunk, and where it is silent those before. Looks before it reads."""
    if b'_tokens":' not in chunk and b'_tokens" :' not in chunk:
        return before
    try:
        parsed = _CHUNK.decode(chunk)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return before
    inside = parsed.response or parsed.message
    counts = parsed.usage or (inside.usage if inside else None)
    if counts is None:
        return before
    return Usage(
        input_tokens=_heard(counts, before.input_tokens),
        output_tokens=_said(counts, before.output_tokens),
        cached_input_tokens=_cached(counts, before.cached_input_tokens),
        reasoning_tokens=_thought(counts, before.reasoning_tokens),
    )


def _heard(counts: _Counts, before: int | None) -> int | None:
    """Anthropic counts what it read from and wrote to its cache apart from the input."""
    if counts.prompt_tokens is not None:
        return counts.prompt_tokens
    if counts.input_tokens is None:
        return before
    read, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    return counts.input_tokens + (read or 0) + (written or 0)


def _said(counts: _Counts, before: int | None) -> int | None:
    """All output: xAI counts its reasoning beside the completion, and so does its sum."""
    heard, said, total = counts.prompt_tokens, counts.completion_tokens, counts.total_tokens
    if said is None:
        return counts.output_tokens if counts.output_tokens is not None else before
    thought = _thought(counts, None)
    beside = heard is not None and thought and total == heard + said + thought
    return said + thought if beside and thought else said


def _cached(counts: _Counts, before: int | None) -> int | None:
    details = counts.prompt_tokens_details or counts.input_tokens_details
    found = details.cached_tokens if details is not None else None
    for other in (counts.prompt_cache_hit_tokens, counts.cache_read_input_tokens, before):
        found = found if found is not None else other
    return found


def _thought(counts: _Counts, before: int | None) -> int | None:
    details = counts.completion_tokens_details or counts.output_tokens_details
    found = details.reasoning_tokens if details is not None else None
    if found is None and details is not None:
        found = details.thinking_tokens
    for other in (counts.reasoning_tokens, before):
        found = found if found is not None else other
    return found

"""Anthropic's Messages API as it stands: bodies that go on as they came, and what they used."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

import msgspec
from msgspec.structs import replace

from gateway.errors import GatewayError, MalformedAnswer
from gateway.providers.anthropic_answers import read_message
from gateway.providers.judged import decoded
from gateway.types import JSON, Answer, JSONObject, Usage

BETAS = "anthropic_beta"
"""Where a body names the beta features it uses: Bedrock has it so, elsewhere it is a header."""
_OURS = {"max_completion_tokens": "max_tokens", "stop": "stop_sequences"}
"""An endpoint's `params` are in OpenAI's words: here, those with a word of Anthropic's."""
_LAST = "message_stop"


class _Error(msgspec.Struct):
    type: str = ""


class _Event(msgspec.Struct):
    type: str
    error: _Error | None = None


class _Count(msgspec.Struct):
    input_tokens: int


_EVENT = msgspec.json.Decoder(_Event)
_COUNT = msgspec.json.Decoder(_Count)


def own_words(body: JSONObject) -> dict[str, JSON]:
    """The body, with the endpoint's default parameters under Anthropic's names."""
    written = {name: value for name, value in body.items() if name not in _OURS and name != "user"}
    for name, theirs in _OURS.items():
        if name in body and theirs not in written:
            value = body[name]
            written[theirs] = [value] if name == "stop" and isinstance(value, str) else value
    return written


def betas(*given: JSON) -> str:
    """The header of several sources: lists, or texts with commas; each beta once, in order."""
    found: list[str] = []
    for source in given:
        several: Iterable[object] = source.split(",") if isinstance(source, str) else ()
        if isinstance(source, list):
            several = source
        found += (name.strip() for name in several if isinstance(name, str) and name.strip())
    return ",".join(dict.fromkeys(found))


def message_answer(raw: bytes) -> Answer:
    """A message as it came, with what it says and used.

    Raises:
        MalformedAnswer: It is none.
    """
    return replace(read_message(raw), raw=raw)


def count_answer(raw: bytes) -> Answer:
    """A count of tokens as it came.

    Raises:
        MalformedAnswer: It is none.
    """
    decoded(_COUNT, raw, "a count of tokens")
    return Answer(raw=raw, usage=Usage())


async def message_events(
    events: AsyncIterator[bytes], failure: Callable[[str, bytes], GatewayError]
) -> AsyncGenerator[bytes, None]:
    """The events of a stream as they came, up to the last.

    Raises:
        GatewayError: One reports a failure.
        MalformedAnswer: One is no event, or the last is missing.
    """
    async for event in events:
        found = decoded(_EVENT, event, "an event of Anthropic's")
        if found.type == "error":
            raise failure(found.error.type if found.error is not None else "", event)
        yield event
        if found.type == _LAST:
            return
    raise MalformedAnswer("the stream ended before the answer did")

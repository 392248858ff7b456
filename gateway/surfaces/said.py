"""What a model said by chat, read out of OpenAI's dialect for surfaces with other words."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol

import msgspec

from gateway.errors import MalformedAnswer
from gateway.surfaces.exchange import named_frame
from gateway.types import JSON


class Function(msgspec.Struct, frozen=True):
    """What a tool call calls; of a stream, a piece of it."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model wants made."""

    function: Function = Function()
    id: str | None = None
    index: int | None = None
    """Which call of the message a piece belongs to; streams only."""


class Part(msgspec.Struct, frozen=True):
    """A part of a content that comes in parts."""

    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message, or the piece of one that a chunk brings."""

    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, list):  # Some vendors answer in parts.
            return "".join(part.text for part in self.content)
        return self.content or ""


class CachedTokens(msgspec.Struct, frozen=True):
    """How much of the prompt was known already."""

    cached_tokens: int | None = None


class ReasoningTokens(msgspec.Struct, frozen=True):
    """How much of the answer was thinking."""

    reasoning_tokens: int | None = None


class Counts(msgspec.Struct, frozen=True):
    """Tokens; None where the provider reported nothing."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedTokens | None = None
    completion_tokens_details: ReasoningTokens | None = None

    @property
    def cached(self) -> int | None:
        """Tokens of the prompt that came out of the provider's cache."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None

    @property
    def reasoning(self) -> int | None:
        """Tokens of the answer that nobody sees."""
        details = self.completion_tokens_details
        return details.reasoning_tokens if details else None


class Choice(msgspec.Struct, frozen=True):
    """One answer, or a piece of it."""

    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None


class Said(msgspec.Struct, frozen=True):
    """A completion, or a chunk of one."""

    choices: list[Choice] = []
    usage: Counts | None = None
    model: str | None = None

    @property
    def finish_reason(self) -> str | None:
        """Why it ended; None while it goes on."""
        return self.choices[0].finish_reason if self.choices else None

    @property
    def part(self) -> Message:
        """The message, or the piece of it."""
        if not self.choices:
            return _NOTHING
        choice = self.choices[0]
        return choice.message or choice.delta or _NOTHING


_NOTHING = Message()
_SAID = msgspec.json.Decoder(Said)


def read(raw: bytes) -> Said:
    """Read an answer or a chunk.

    Raises:
        MalformedAnswer: It has another shape than OpenAI's dialect.
    """
    try:
        return _SAID.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"not an answer in OpenAI's dialect: {error}") from error


class Events(Protocol):
    """Says a streamed answer in another API's events."""

    def begin(self) -> Iterator[dict[str, JSON]]:
        """Events before the first piece."""
        ...

    def feed(self, chunk: Said) -> Iterator[dict[str, JSON]]:
        """Events of one chunk."""
        ...

    def end(self) -> Iterator[dict[str, JSON]]:
        """Events after the last chunk."""
        ...


class _Named(msgspec.Struct):
    type: str = ""


_NAMED = msgspec.json.Decoder(_Named)


async def passed_events(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The frames of events that come with their `type`, as they are."""
    async with aclosing(events):
        async for event in events:
            name = _NAMED.decode(event).type
            yield f"event: {name}\n".encode() + b"data: " + event + b"\n\n"


async def translated(
    chunks: AsyncGenerator[bytes, None], events: Events
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream in another API's events."""
    begun = False
    async with aclosing(chunks):
        async for chunk in chunks:
            found = read(chunk)
            if not begun:  # Only now is it sure that there is an answer.
                begun = True
                for event in events.begin():
                    yield named_frame(event)
            for event in events.feed(found):
                yield named_frame(event)
    for event in events.end():
        yield named_frame(event)

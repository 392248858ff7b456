"""Calls whose failures vendors word in their own way, and answers out of their dialects."""

import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import msgspec

from gateway.errors import GatewayError, MalformedAnswer, UnsupportedParameter
from gateway.http import Reply, ReplyStream, Transport, WireRequest
from gateway.http.wire import whole
from gateway.providers import dialect
from gateway.types import JSON, Answer, JSONObject, Usage

Judge: TypeAlias = Callable[[int, Mapping[str, str], bytes], GatewayError]
"""Says what a reply without success means."""
Shape = TypeVar("Shape")
_SUCCESSES = range(200, 300)


async def called(transport: Transport, request: WireRequest, judge: Judge) -> Reply:
    """Send, and raise what a reply without success means."""
    reply = await transport.send(request)
    if reply.status not in _SUCCESSES:
        raise judge(reply.status, reply.headers, reply.body)
    return reply


@asynccontextmanager
async def opened(
    transport: Transport, request: WireRequest, judge: Judge
) -> AsyncIterator[ReplyStream]:
    """Open a stream; its status is judged before the first piece."""
    async with transport.stream(request) as reply:
        if reply.status not in _SUCCESSES:
            raise judge(reply.status, reply.headers, await whole(reply.chunks))
        yield reply


def decoded(decoder: msgspec.json.Decoder[Shape], raw: bytes, what: str) -> Shape:
    """A vendor's JSON in its shape.

    Raises:
        MalformedAnswer: It is something else.
    """
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        excerpt = raw[:200].decode("utf-8", "replace")
        raise MalformedAnswer(f"not {what} ({error}): {excerpt}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a model said, read out of a vendor's shape."""

    text: str | None
    finish_reason: str | None
    usage: Usage
    model: str | None
    tool_calls: Sequence[JSONObject] = ()
    refusal: str | None = None
    reasoning: str | None = None
    logprobs: JSONObject | None = None
    """In OpenAI's dialect."""

    def answer(self, *others: "Spoken") -> Answer:
        """The same in OpenAI's dialect, with the other answers to the same question behind it."""
        choices = [one.choice(index) for index, one in enumerate((self, *others))]
        raw = dialect.chat_body(choices, usage=self.usage, model=self.model)
        return Answer(
            raw=raw,
            text=self.text or "",
            finish_reason=self.finish_reason,
            refusal=self.refusal,
            usage=self.usage,
            model=self.model,
        )

    def choice(self, index: int) -> dict[str, JSON]:
        """One of several answers."""
        return dialect.chat_choice(
            self.text,
            index=index,
            finish_reason=self.finish_reason,
            tool_calls=self.tool_calls,
            refusal=self.refusal,
            reasoning=self.reasoning,
            logprobs=self.logprobs,
        )

    def text_answer(self) -> Answer:
        """The same as a text completion."""
        raw = dialect.text_body(
            self.text or "",
            finish_reason=self.finish_reason,
            usage=self.usage,
            model=self.model,
        )
        return dialect.text_answer(raw)


def encoding_of(body: JSONObject) -> Literal["float", "base64"]:
    """How vectors are to be written; OpenAI's own client asks for base64 unasked.

    Raises:
        UnsupportedParameter: `encoding_format` is something else.
    """
    match body.get("encoding_format"):
        case None | "float":
            return "float"
        case "base64":
            return "base64"
        case _:
            raise UnsupportedParameter("encoding_format", "it is `float` or `base64`")


def embedded(
    vectors: Sequence[Sequence[float]],
    *,
    encoding: Literal["float", "base64"],
    usage: Usage,
    model: str | None,
) -> Answer:
    """Vectors in OpenAI's dialect."""
    written: Sequence[Sequence[float] | str] = vectors
    if encoding == "base64":
        written = [b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    raw = dialect.embeddings_body(written, usage=usage, model=model)
    return Answer(raw=raw, usage=usage, model=model)

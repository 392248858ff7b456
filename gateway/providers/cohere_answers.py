"""Cohere's messages, streams and embeddings, read into OpenAI's dialect."""

from collections.abc import Iterator

import msgspec

from gateway.errors import GatewayError, MalformedAnswer, TimedOut, Unavailable
from gateway.providers import dialect
from gateway.providers.judged import Spoken, decoded
from gateway.types import Answer, Usage

_FINISH = {
    "COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}  # fmt: skip


class Tokens(msgspec.Struct):
    """Numbers of tokens, which come as fractions."""

    input_tokens: float | None = None
    output_tokens: float | None = None


class Counts(msgspec.Struct):
    """Tokens, in Cohere's words."""

    tokens: Tokens | None = None
    cached_tokens: float | None = None

    def usage(self) -> Usage:
        """What the model read and wrote, which is not what is billed."""
        tokens = self.tokens or Tokens()
        return Usage(
            input_tokens=_whole(tokens.input_tokens),
            output_tokens=_whole(tokens.output_tokens),
            cached_input_tokens=_whole(self.cached_tokens),
        )


class _Content(msgspec.Struct):
    text: str = ""
    thinking: str = ""


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str = ""
    function: _Function = msgspec.field(default_factory=_Function)


class _Message(msgspec.Struct):
    content: list[_Content] | None = None
    tool_calls: list[_Call] | None = None
    tool_plan: str = ""


class _Answer(msgspec.Struct):
    message: _Message
    finish_reason: str
    usage: Counts = msgspec.field(default_factory=Counts)


class _Piece(msgspec.Struct):
    content: _Content | list[_Content] | None = None
    tool_calls: _Call | list[_Call] | None = None
    tool_plan: str = ""


class _Delta(msgspec.Struct):
    message: _Piece | None = None
    finish_reason: str | None = None
    usage: Counts | None = None
    error: str | None = None


class _Event(msgspec.Struct):
    type: str
    delta: _Delta | None = None


class _Vectors(msgspec.Struct):
    float: list[list[float]]


class _Billed(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Billed | None = None


class _Embeddings(msgspec.Struct):
    embeddings: _Vectors
    meta: _Meta | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)


def read_message(raw: bytes, *, model: str | None) -> Answer:
    """A whole answer.

    Raises:
        MalformedAnswer: It is none.
        GatewayError: It says that it broke off.
    """
    answer = decoded(_ANSWER, raw, "an answer of Cohere's")
    if (broken := _broken(answer.finish_reason, None)) is not None:
        raise broken
    message = answer.message
    content = message.content or []
    calls = [
        dialect.tool_call(call.id, call.function.name, call.function.arguments or "{}")
        for call in message.tool_calls or []
    ]
    thoughts = "".join(part.thinking for part in content) + message.tool_plan
    return Spoken(
        text="".join(part.text for part in content) if content or not calls else None,
        finish_reason=_FINISH.get(answer.finish_reason, answer.finish_reason),
        usage=answer.usage.usage(),
        model=model,
        tool_calls=calls,
        reasoning=thoughts or None,
    ).answer()


def read_embeddings(raw: bytes) -> tuple[list[list[float]], Usage]:
    """Vectors in the order of the texts, and what was read."""
    body = decoded(_EMBEDDINGS, raw, "embeddings of Cohere's")
    billed = body.meta.billed_units if body.meta is not None else None
    return body.embeddings.float, Usage(
        input_tokens=_whole(billed.input_tokens if billed else None)
    )


class Reading:
    """One stream, as far as it has come."""

    def __init__(self, *, counted: bool, model: str | None) -> None:
        self.finished = False
        self._counted = counted
        self._writer = dialect.ChunkWriter(chat=True, model=model)
        self._calls = -1
        self._argued = False
        """Whether the open tool call has got arguments."""

    def chunks(self, event: bytes) -> Iterator[bytes]:
        """What an event comes to: nothing, or chunks in order.

        Raises:
            GatewayError: The event says that the answer broke off.
            MalformedAnswer: It is no event.
        """
        if event == b"[DONE]":
            return
        match decoded(_EVENT, event, "an event of Cohere's"):
            case _Event(type="message-start"):
                yield self._writer.piece("")
            case _Event(type="message-end", delta=_Delta() as delta):
                yield from self._end(delta)
            case _Event(type="tool-call-end") if not self._argued:
                yield self._writer.tool_call(self._calls, arguments="{}")
            case _Event(type=kind, delta=_Delta(message=_Piece() as piece)):
                yield from self._piece(kind, piece)
            case _:  # Ends of blocks, citations, and whatever Cohere comes to add.
                return

    def _piece(self, kind: str, piece: _Piece) -> Iterator[bytes]:
        match kind, piece:
            case "content-start" | "content-delta", _Piece(content=_Content() as content):
                if content.thinking:
                    yield self._writer.reasoning(content.thinking)
                if content.text:
                    yield self._writer.piece(content.text)
            case "tool-plan-delta", _Piece(tool_plan=plan) if plan:
                yield self._writer.reasoning(plan)
            case "tool-call-start", _Piece(tool_calls=_Call() as call):
                self._calls += 1
                said = call.function
                self._argued = bool(said.arguments)
                yield self._writer.tool_call(
                    self._calls, call_id=call.id, name=said.name, arguments=said.arguments
                )
            case "tool-call-delta", _Piece(tool_calls=_Call() as call):
                self._argued = True
                yield self._writer.tool_call(self._calls, arguments=call.function.arguments)
            case _:
                return

    def _end(self, delta: _Delta) -> Iterator[bytes]:
        if delta.finish_reason is None:
            raise MalformedAnswer("a stream that ends without a reason")
        if (broken := _broken(delta.finish_reason, delta.error)) is not None:
            raise broken
        self.finished = True
        reason = _FINISH.get(delta.finish_reason, delta.finish_reason)
        yield self._writer.piece(None, finish_reason=reason)
        if self._counted and delta.usage is not None:
            yield self._writer.usage(delta.usage.usage())


def _broken(reason: str, why: str | None) -> GatewayError | None:
    match reason:
        case "ERROR":
            return Unavailable(why or "Cohere broke off: the generation failed")
        case "TIMEOUT":
            return TimedOut(why or "Cohere broke off: the generation took too long")
        case _:
            return None


def _whole(count: float | None) -> int | None:
    return int(count) if count is not None else None

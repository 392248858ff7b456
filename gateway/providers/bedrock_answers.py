"""Converse's answers, streams and errors, read into OpenAI's dialect."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from gateway.errors import GatewayError, MalformedAnswer, QuotaExhausted
from gateway.http import failure_of
from gateway.providers import dialect
from gateway.providers.aws_stream import Frame
from gateway.providers.judged import Spoken, decoded
from gateway.types import Answer, Usage

_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter", "content_filtered": "content_filter",
    "model_context_window_exceeded": "length",
}  # fmt: skip
_NO_ANSWER = frozenset({"malformed_model_output", "malformed_tool_use"})
_STATUS = {
    "internalServerException": 500, "modelStreamErrorException": 424, "validationException": 400,
    "throttlingException": 429, "serviceUnavailableException": 503, "modelTimeoutException": 408,
}  # fmt: skip
"""The status that an exception inside a stream would have had."""


class _Counts(msgspec.Struct):
    inputTokens: int | None = None  # noqa: N815 - AWS's name
    outputTokens: int | None = None  # noqa: N815
    cacheReadInputTokens: int | None = None  # noqa: N815
    cacheWriteInputTokens: int | None = None  # noqa: N815

    def usage(self) -> Usage:
        """AWS counts what was read from and written to a cache apart from the input."""
        heard = self.inputTokens
        if heard is not None:
            heard += (self.cacheReadInputTokens or 0) + (self.cacheWriteInputTokens or 0)
        return Usage(
            input_tokens=heard,
            output_tokens=self.outputTokens,
            cached_input_tokens=self.cacheReadInputTokens,
        )


class _ToolUse(msgspec.Struct):
    toolUseId: str = ""  # noqa: N815
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _ReasoningText(msgspec.Struct):
    text: str = ""


class _Reasoning(msgspec.Struct):
    reasoningText: _ReasoningText | None = None  # noqa: N815
    text: str = ""


class _Block(msgspec.Struct):
    text: str | None = None
    toolUse: _ToolUse | None = None  # noqa: N815
    reasoningContent: _Reasoning | None = None  # noqa: N815


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    output: _Output
    stopReason: str  # noqa: N815
    usage: _Counts = msgspec.field(default_factory=_Counts)


class _Event(msgspec.Struct):
    start: _Block | None = None
    delta: _Block | None = None
    stopReason: str | None = None  # noqa: N815
    usage: _Counts | None = None


class _Piece(msgspec.Struct):
    content: bytes = msgspec.field(name="bytes")
    """In base64, which the decoder takes off."""


class _Count(msgspec.Struct):
    inputTokens: int  # noqa: N815


_PIECE = msgspec.json.Decoder(_Piece)
_COUNT = msgspec.json.Decoder(_Count)
_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


def read_answer(raw: bytes, *, model: str | None) -> Answer:
    """A whole answer.

    Raises:
        MalformedAnswer: It is none.
    """
    answer = decoded(_ANSWER, raw, "an answer of Converse's")
    blocks = answer.output.message.content
    texts = [block.text for block in blocks if block.text is not None]
    calls = [
        dialect.tool_call(use.toolUseId, use.name, bytes(use.input).decode("utf-8"))
        for block in blocks
        if (use := block.toolUse) is not None
    ]
    thoughts = [
        block.reasoningContent.reasoningText.text
        for block in blocks
        if block.reasoningContent is not None and block.reasoningContent.reasoningText is not None
    ]
    return Spoken(
        text="".join(texts) if texts or not calls else None,
        finish_reason=_finish(answer.stopReason),
        usage=answer.usage.usage(),
        model=model,
        tool_calls=calls,
        reasoning="".join(thoughts) or None,
    ).answer()


class Reading:
    """One stream, as far as it has come."""

    def __init__(self, *, model: str | None) -> None:
        self.finished = False
        self._writer = dialect.ChunkWriter(chat=True, model=model)
        self._counts = _Counts()
        self._calls = -1
        self._calling = False
        """Whether the open block is a tool call that has got no arguments yet."""

    def chunks(self, frame: Frame) -> Iterator[bytes]:
        """What a frame comes to: nothing, or chunks in order.

        Raises:
            GatewayError: The frame reports one.
            MalformedAnswer: It is no event.
        """
        headers = frame.headers
        if headers.get(":message-type") != "event":
            raise _exception(frame)
        event = decoded(_EVENT, frame.payload, "an event of Converse's")
        match headers.get(":event-type"):
            case "messageStart":
                yield self._writer.piece("")
            case "contentBlockStart" if event.start is not None:
                yield from self._started(event.start)
            case "contentBlockDelta" if event.delta is not None:
                yield from self._delta(event.delta)
            case "contentBlockStop" if self._calling:
                self._calling = False
                yield self._writer.tool_call(self._calls, arguments="{}")
            case "messageStop" if event.stopReason is not None:
                reason = _finish(event.stopReason)
                self.finished = True
                yield self._writer.piece(None, finish_reason=reason)
            case "metadata":
                self._counts = event.usage or self._counts
            case _:
                return

    def usage(self) -> bytes:
        """The last chunk, with the counts."""
        return self._writer.usage(self._counts.usage())

    def _started(self, block: _Block) -> Iterator[bytes]:
        if (use := block.toolUse) is not None:
            self._calls += 1
            self._calling = True
            yield self._writer.tool_call(self._calls, call_id=use.toolUseId, name=use.name)

    def _delta(self, block: _Block) -> Iterator[bytes]:
        if block.text:
            yield self._writer.piece(block.text)
        if block.reasoningContent is not None and block.reasoningContent.text:
            yield self._writer.reasoning(block.reasoningContent.text)
        if block.toolUse is not None:
            piece = msgspec.json.decode(block.toolUse.input)
            if isinstance(piece, str) and piece:
                self._calling = False
                yield self._writer.tool_call(self._calls, arguments=piece)


async def invoked_events(frames: AsyncIterator[Frame]) -> AsyncIterator[bytes]:
    """Events in the model's own words, out of the frames of an invocation.

    Raises:
        GatewayError: A frame reports one.
        MalformedAnswer: A frame holds no event.
    """
    async for frame in frames:
        if frame.headers.get(":message-type") != "event":
            raise _exception(frame)
        if frame.headers.get(":event-type") == "chunk":
            yield decoded(_PIECE, frame.payload, "a piece of an invocation").content


def invoked_count(raw: bytes) -> Answer:
    """A count of tokens, in Anthropic's words."""
    count = decoded(_COUNT, raw, "a count of tokens").inputTokens
    return Answer(raw=msgspec.json.encode({"input_tokens": count}))


def failure(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """What one of AWS's errors means; its name stands in a header, or in the body."""
    told = _told(body)
    name = (headers.get("x-amzn-errortype") or str(told.get("__type") or "")).partition(":")[0]
    name = name.rpartition("#")[2]
    message = told.get("message") or told.get("Message")
    if not isinstance(message, str):
        return failure_of(status, headers, body)
    return _named(name, message, status, headers)


def _exception(frame: Frame) -> GatewayError:
    name = frame.headers.get(":exception-type") or frame.headers.get(":error-code") or ""
    told = _told(frame.payload)
    message = str(told.get("message") or frame.headers.get(":error-message") or name)
    return _named(name, message, _STATUS.get(name, 502), {})


def _named(name: str, message: str, status: int, headers: Mapping[str, str]) -> GatewayError:
    plain = msgspec.json.encode({"error": {"message": message, "code": name or None}})
    error = failure_of(status, headers, plain)
    daily = "per day" in message and name.startswith("Throttling")
    if name == "ServiceQuotaExceededException" or daily:
        return QuotaExhausted(message, status=status, code=name)
    return error


def _told(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _finish(reason: str) -> str:
    if reason in _NO_ANSWER:
        raise MalformedAnswer(f"the model broke off: {reason}")
    return _FINISH.get(reason, reason)

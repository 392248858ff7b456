"""Anthropic's messages and their streams, read into OpenAI's dialect."""

from collections.abc import Callable, Iterator

import msgspec

from gateway.errors import GatewayError, MalformedAnswer
from gateway.providers import dialect
from gateway.providers.judged import Spoken, decoded
from gateway.types import Answer, Usage

_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip


class _Thought(msgspec.Struct):
    thinking_tokens: int | None = None


class _Counts(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Thought | None = None

    def over(self, older: "_Counts") -> "_Counts":
        """These counts, and the older ones where these are silent."""
        names = self.__struct_fields__
        later = {name: getattr(self, name) for name in names}
        return _Counts(**{k: v if v is not None else getattr(older, k) for k, v in later.items()})

    def usage(self) -> Usage:
        """Anthropic counts what it read from and wrote to its cache apart from the input."""
        heard = self.input_tokens
        if heard is not None:
            heard += (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)
        details = self.output_tokens_details
        return Usage(
            input_tokens=heard,
            output_tokens=self.output_tokens,
            cached_input_tokens=self.cache_read_input_tokens,
            reasoning_tokens=details.thinking_tokens if details is not None else None,
        )


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Stop(msgspec.Struct):
    explanation: str | None = None


class _Message(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    stop_details: _Stop | None = None
    model: str | None = None
    usage: _Counts = msgspec.field(default_factory=_Counts)


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_details: _Stop | None = None


class _Error(msgspec.Struct):
    type: str = ""


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Counts | None = None
    error: _Error | None = None


_MESSAGE = msgspec.json.Decoder(_Message)
_EVENT = msgspec.json.Decoder(_Event)


def read_message(raw: bytes) -> Answer:
    """A whole message.

    Raises:
        MalformedAnswer: It is none.
    """
    message = decoded(_MESSAGE, raw, "a message of Anthropic's")
    if message.stop_reason is None:
        raise MalformedAnswer("a message without a reason why it ends")
    texts = [block.text for block in message.content if block.type == "text"]
    thoughts = "".join(block.thinking for block in message.content)
    calls = [
        dialect.tool_call(block.id, block.name, bytes(block.input).decode("utf-8"))
        for block in message.content
        if block.type == "tool_use"
    ]
    return Spoken(
        text="".join(texts) if texts or not calls else None,
        finish_reason=_FINISH.get(message.stop_reason, message.stop_reason),
        usage=message.usage.usage(),
        model=message.model,
        tool_calls=calls,
        refusal=message.stop_details.explanation if message.stop_details is not None else None,
        reasoning=thoughts or None,
    ).answer()


class Reading:
    """One stream, as far as it has come."""

    def __init__(self, *, counted: bool, failure: Callable[[str, bytes], GatewayError]) -> None:
        self.finished = False
        self._failure = failure
        self._counted = counted
        self._writer = dialect.ChunkWriter(chat=True, model=None)
        self._counts = _Counts()
        self._calls = -1
        self._arguments = ""
        """What the open tool call has got so far."""

    def chunks(self, event: bytes) -> Iterator[bytes]:
        """What an event comes to: nothing, or chunks in order.

        Raises:
            GatewayError: The event reports one.
            MalformedAnswer: It is no event.
        """
        match decoded(_EVENT, event, "an event of Anthropic's"):
            case _Event(type="error", error=error):
                raise self._failure(error.type if error is not None else "", event)
            case _Event(type="message_start", message=_Message() as message):
                self._writer = dialect.ChunkWriter(chat=True, model=message.model)
                self._counts = message.usage
                yield self._writer.piece("")
            case _Event(type="content_block_start", content_block=_Block() as block):
                yield from self._block(block)
            case _Event(type="content_block_delta", delta=_Delta() as delta):
                yield from self._delta(delta)
            case _Event(type="content_block_stop") if self._calls >= 0 and not self._arguments:
                self._arguments = "{}"
                yield self._writer.tool_call(self._calls, arguments="{}")
            case _Event(type="message_delta", delta=_Delta() as delta, usage=counts):
                self._counts = (counts or _Counts()).over(self._counts)
                yield from self._end(delta)
            case _Event(type="message_stop"):
                self.finished = True
                if self._counted:
                    yield self._writer.usage(self._counts.usage())
            case _:  # Pings, and whatever Anthropic comes to add.
                return

    def _block(self, block: _Block) -> Iterator[bytes]:
        if block.type == "text" and block.text:
            yield self._writer.piece(block.text)
        if block.type == "tool_use":
            self._calls += 1
            self._arguments = ""
            yield self._writer.tool_call(self._calls, call_id=block.id, name=block.name)

    def _delta(self, delta: _Delta) -> Iterator[bytes]:
        if delta.type == "text_delta":
            yield self._writer.piece(delta.text)
        elif delta.type == "thinking_delta" and delta.thinking:
            yield self._writer.reasoning(delta.thinking)
        elif delta.type == "input_json_delta" and delta.partial_json:
            self._arguments += delta.partial_json
            yield self._writer.tool_call(self._calls, arguments=delta.partial_json)

    def _end(self, delta: _Delta) -> Iterator[bytes]:
        if delta.stop_details is not None and delta.stop_details.explanation:
            yield self._writer.refusal(delta.stop_details.explanation)
        if delta.stop_reason is not None:
            reason = _FINISH.get(delta.stop_reason, delta.stop_reason)
            yield self._writer.piece(None, finish_reason=reason)

"""Anthropic's Messages API, the way out: a chat answer as a message, or as its events."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import MalformedAnswer
from gateway.surfaces.said import Counts, Said, ToolCall
from gateway.types import JSON

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def message_of(endpoint: str, said: Said) -> dict[str, JSON]:
    """The message of a whole answer."""
    content: list[JSON] = []
    if text := said.part.text or said.part.refusal:
        content.append({"type": "text", "text": text, "citations": None})
    content += [_tool_use(call) for call in said.part.tool_calls or []]
    message = _message(endpoint, content)
    return message | {"stop_reason": _stop_reason(said), "usage": _usage(said.usage)}


@dataclass(slots=True)
class MessageEvents:
    """Turns the chunks of one chat answer into the events of one message."""

    endpoint: str
    _index: int = 0
    _open: str | int | None = None
    """What the open block is: `text`, the call it belongs to, or None when there is none."""
    _reason: str = "end_turn"
    _usage: Counts | None = None

    def begin(self) -> Iterator[dict[str, JSON]]:
        """Events before the first piece."""
        usage = _usage(None)
        yield {"type": "message_start", "message": _message(self.endpoint, []) | {"usage": usage}}
        yield {"type": "ping"}

    def feed(self, chunk: Said) -> Iterator[dict[str, JSON]]:
        """Events of one chunk."""
        self._usage = chunk.usage or self._usage
        if text := chunk.part.text or chunk.part.refusal:
            if self._open != "text":
                yield from self._begin_block("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for call in chunk.part.tool_calls or []:
            yield from self._call(call)
        if chunk.finish_reason is not None:
            self._reason = _stop_reason(chunk)

    def end(self) -> Iterator[dict[str, JSON]]:
        """Events after the last chunk."""
        yield from self._finish_block()
        delta: JSON = {"stop_reason": self._reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": _usage(self._usage)}
        yield {"type": "message_stop"}

    def _call(self, call: ToolCall) -> Iterator[dict[str, JSON]]:
        key = call.index if call.index is not None else call.id
        if self._open != key:
            block: JSON = {
                "type": "tool_use", "id": call.id, "name": call.function.name, "input": {},
            }  # fmt: skip
            yield from self._begin_block(key, block)
        if call.function.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": call.function.arguments})

    def _begin_block(self, key: str | int | None, block: JSON) -> Iterator[dict[str, JSON]]:
        yield from self._finish_block()
        self._open = key
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _finish_block(self) -> Iterator[dict[str, JSON]]:
        if self._open is None:
            return
        yield {"type": "content_block_stop", "index": self._index}
        self._index += 1
        self._open = None

    def _delta(self, delta: JSON) -> dict[str, JSON]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def _message(endpoint: str, content: list[JSON]) -> dict[str, JSON]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": endpoint,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(said: Said) -> str:
    if said.part.refusal:
        return "refusal"
    return _STOP_REASONS.get(said.finish_reason or "stop", "end_turn")


def _tool_use(call: ToolCall) -> JSON:
    arguments: Any = {}
    if call.function.arguments:
        try:
            arguments = msgspec.json.decode(call.function.arguments)
        except msgspec.DecodeError as error:
            message = f"the arguments of a tool call are not JSON: {error}"
            raise MalformedAnswer(message) from error
    return {
        "type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments,
    }  # fmt: skip


def _usage(counts: Counts | None) -> JSON:
    """Tokens under this API's names.

    Its clients demand numbers: what a provider did not report, and what is not known yet when a
    stream begins, is 0 here and nowhere else. Cached tokens are not part of its `input_tokens`.
    """
    known = counts or Counts()
    cached = known.cached or 0
    return {
        "input_tokens": max((known.prompt_tokens or 0) - cached, 0),
        "output_tokens": known.completion_tokens or 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }

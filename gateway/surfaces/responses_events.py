"""OpenAI's Responses API, the way out as a stream: chunks of a chat answer as its events."""

import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.surfaces.refusals import openai_error
from gateway.surfaces.responses_answer import (
    Head,
    function_call,
    message_item,
    refusal_part,
    status_word,
    text_part,
)
from gateway.surfaces.said import Counts, Said, ToolCall
from gateway.types import JSON


@dataclass(slots=True)
class _Item:
    """An output item while it is being said."""

    index: int
    kind: str
    id: str
    text: str = ""
    call_id: str = ""
    name: str = ""

    @property
    def place(self) -> dict[str, JSON]:
        return {"item_id": self.id, "output_index": self.index}

    @property
    def part(self) -> dict[str, JSON]:
        return refusal_part(self.text) if self.kind == "refusal" else text_part(self.text)

    def written(self, status: str) -> dict[str, JSON]:
        if self.kind == "function_call":
            return function_call(self.id, self.call_id, self.name, self.text, status)
        return message_item(self.id, [self.part] if status != "in_progress" else [], status)


@dataclass(slots=True)
class ResponseEvents:
    """Turns the chunks of one chat answer into the events of one response."""

    head: Head
    _number: int = 0
    _done: list[JSON] = field(default_factory=list[JSON])
    _item: _Item | None = None
    _tool: int | str | None = None
    _reason: str | None = None
    _usage: Counts | None = None

    def begin(self) -> Iterator[dict[str, JSON]]:
        """Events before the first piece."""
        yield self._event("response.created", response=self.head.open())
        yield self._event("response.in_progress", response=self.head.open())

    def feed(self, chunk: Said) -> Iterator[dict[str, JSON]]:
        """Events of one chunk."""
        self._usage = chunk.usage or self._usage
        self._reason = chunk.finish_reason or self._reason
        part = chunk.part
        if part.text:
            yield from self._say("message", part.text)
        if part.refusal:
            yield from self._say("refusal", part.refusal)
        for call in part.tool_calls or []:
            yield from self._call(call)

    def end(self) -> Iterator[dict[str, JSON]]:
        """Events after the last chunk."""
        yield from self._finish_item()
        response = self.head.closed(self._done, self._reason, self._usage)
        yield self._event(f"response.{response['status']}", response=response)

    def fail(self, error: GatewayError) -> dict[str, JSON]:
        """The event that ends a response which could not be finished."""
        found = openai_error(error)
        code = "rate_limit_exceeded" if found["type"] == "rate_limit_error" else "server_error"
        failed = {
            **self.head.open(),
            "status": "failed",
            "output": self._done,
            "error": {"code": code, "message": error.message},
        }
        return self._event("response.failed", response=failed)

    def _say(self, kind: str, text: str) -> Iterator[dict[str, JSON]]:
        item = self._item
        if item is None or item.kind != kind:
            yield from self._finish_item()
            item = yield from self._begin_item(kind, f"msg_{uuid.uuid4().hex}")
            empty = refusal_part("") if kind == "refusal" else text_part("")
            yield self._event(
                "response.content_part.added", **item.place, content_index=0, part=empty
            )
        item.text += text
        if kind == "refusal":
            yield self._event("response.refusal.delta", **item.place, content_index=0, delta=text)
        else:
            yield self._event(
                "response.output_text.delta",
                **item.place, content_index=0, delta=text, logprobs=[],
            )  # fmt: skip

    def _call(self, call: ToolCall) -> Iterator[dict[str, JSON]]:
        item = self._item
        key = call.index if call.index is not None else call.id
        if item is None or item.kind != "function_call" or key != self._tool:
            yield from self._finish_item()
            self._tool = key
            item = yield from self._begin_item(
                "function_call", f"fc_{uuid.uuid4().hex}", call.id or "", call.function.name or ""
            )
        if call.function.arguments:
            item.text += call.function.arguments
            yield self._event(
                "response.function_call_arguments.delta",
                **item.place, delta=call.function.arguments,
            )  # fmt: skip

    def _begin_item(
        self, kind: str, item_id: str, call_id: str = "", name: str = ""
    ) -> Generator[dict[str, JSON], None, _Item]:
        item = _Item(len(self._done), kind, item_id, call_id=call_id, name=name)
        self._item = item
        yield self._event(
            "response.output_item.added",
            output_index=item.index,
            item=item.written("in_progress"),
        )
        return item

    def _finish_item(self) -> Iterator[dict[str, JSON]]:
        item, self._item = self._item, None
        if item is None:
            return
        place = item.place
        match item.kind:
            case "function_call":
                yield self._event(
                    "response.function_call_arguments.done",
                    **place, name=item.name, arguments=item.text,
                )  # fmt: skip
            case "refusal":
                yield self._event(
                    "response.refusal.done", **place, content_index=0, refusal=item.text
                )
            case _:
                yield self._event(
                    "response.output_text.done",
                    **place, content_index=0, text=item.text, logprobs=[],
                )  # fmt: skip
        if item.kind != "function_call":
            yield self._event(
                "response.content_part.done", **place, content_index=0, part=item.part
            )
        status = "completed" if item.kind == "function_call" else status_word(self._reason)
        written = item.written(status)
        self._done.append(written)
        yield self._event("response.output_item.done", output_index=item.index, item=written)

    def _event(self, kind: str, **fields: JSON) -> dict[str, JSON]:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **fields}

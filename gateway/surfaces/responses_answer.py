"""OpenAI's Responses API, the way out: a chat answer as a response object."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.surfaces.said import Counts, Said, ToolCall
from gateway.types import JSON

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Mapping[str, JSON] = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True,
    "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None, "user": None,
    "text": {"format": {"type": "text"}}, "reasoning": {"effort": None, "summary": None},
}  # fmt: skip
"""Parameters of the request that the response repeats, and what they are when not given."""


def response_of(request: Mapping[str, JSON], endpoint: str, said: Said) -> dict[str, JSON]:
    """The response object of a whole answer."""
    reason = said.finish_reason
    output: list[JSON] = []
    if said.part.text or said.part.refusal:
        part = refusal_part(said.part.refusal) if said.part.refusal else text_part(said.part.text)
        output.append(message_item(f"msg_{uuid.uuid4().hex}", [part], status_word(reason)))
    output += [_call_item(call) for call in said.part.tool_calls or []]
    return Head.of(request, endpoint).closed(output, reason, said.usage)


@dataclass(frozen=True, slots=True)
class Head:
    """What every event of one response says about it."""

    fields: Mapping[str, JSON]

    @classmethod
    def of(cls, request: Mapping[str, JSON], endpoint: str) -> "Head":
        """Begin a response."""
        echoed = {
            name: request[name] if request.get(name) is not None else default
            for name, default in _ECHOED.items()
        }
        return cls(
            {
                "id": f"resp_{uuid.uuid4().hex}",
                "object": "response",
                "created_at": int(time.time()),
                "model": endpoint,
                "error": None,
                "incomplete_details": None,
                "previous_response_id": None,
                "background": False,
                # Nothing is kept here, whatever was asked.
                "store": False,
                "truncation": "disabled",
                "service_tier": "default",
                **echoed,
            }
        )

    def open(self) -> dict[str, JSON]:
        """The response before anything was said."""
        return {**self.fields, "status": "in_progress", "output": [], "usage": None}

    def closed(
        self, output: list[JSON], reason: str | None, usage: Counts | None
    ) -> dict[str, JSON]:
        """The response after all was said."""
        cut = _INCOMPLETE.get(reason or "")
        return {
            **self.fields,
            "status": status_word(reason),
            "incomplete_details": {"reason": cut} if cut else None,
            "output": output,
            "usage": _usage(usage),
        }


def status_word(reason: str | None) -> str:
    """Status of what ended for `reason`."""
    return "incomplete" if reason in _INCOMPLETE else "completed"


def text_part(text: str) -> dict[str, JSON]:
    """Text, as a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> dict[str, JSON]:
    """A refusal, as a part of a message."""
    return {"type": "refusal", "refusal": text}


def message_item(item_id: str, content: list[JSON], status: str) -> dict[str, JSON]:
    """A message, as an item of the output."""
    return {
        "id": item_id, "type": "message", "role": "assistant", "status": status, "content": content,
    }  # fmt: skip


def _call_item(call: ToolCall) -> JSON:
    arguments = call.function.arguments or "{}"
    name = call.function.name or ""
    return function_call(f"fc_{uuid.uuid4().hex}", call.id or "", name, arguments, "completed")


def function_call(
    item_id: str, call_id: str, name: str, arguments: str, status: str
) -> dict[str, JSON]:
    """A tool call, as an item of the output."""
    return {
        "id": item_id, "type": "function_call", "status": status, "call_id": call_id,
        "name": name, "arguments": arguments,
    }  # fmt: skip


def _usage(counts: Counts | None) -> JSON:
    """Tokens under this API's names; null when the provider reported none."""
    if counts is None or counts.prompt_tokens is None or counts.completion_tokens is None:
        return None
    return {
        "input_tokens": counts.prompt_tokens,
        # The API's own clients demand numbers here.
        "input_tokens_details": {"cached_tokens": counts.cached or 0},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning or 0},
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }

"""OpenAI's Responses API: read a response object, and judge the events of its stream."""

from typing import Any

import msgspec

from gateway.errors import GatewayError, MalformedAnswer
from gateway.http.failures import event_failure
from gateway.providers.dialect import raise_error_inside
from gateway.types import JSON, Answer, JSONObject, Usage

LAST_EVENTS = frozenset({"response.completed", "response.incomplete"})
"""Types of the events after which a stream has said everything."""
_LIMITS = ("max_completion_tokens", "max_tokens")
"""Chat's words for what is `max_output_tokens` here; an endpoint's `params` may have them."""
_FAILED = frozenset({"response.failed", "error"})


class _Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Content] | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Thought(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Thought | None = None


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    output: list[_Item]
    status: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")
    incomplete_details: _Reason | None = None
    usage: _Usage | None = None
    model: str | None = None


class _Event(msgspec.Struct):
    type: str


_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Decoder(_Event)


def own_words(body: JSONObject) -> dict[str, JSON]:
    """The body, with the endpoint's default parameters as this API has them."""
    written = dict(body)
    for name in _LIMITS:
        if name in written:
            written.setdefault("max_output_tokens", written.pop(name))
    if (effort := written.pop("reasoning_effort", None)) is not None:
        given = written.get("reasoning")
        written["reasoning"] = {"effort": effort, **(given if isinstance(given, dict) else {})}
    return written


def response_answer(raw: bytes) -> Answer:
    """Read a response object.

    Raises:
        MalformedAnswer: It is none.
        GatewayError: It carries an error.
    """
    try:
        response = _RESPONSE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise_error_inside(raw)
        excerpt = raw[:200].decode("utf-8", "replace")
        raise MalformedAnswer(f"not a response ({error}): {excerpt}") from error
    if response.status == "failed":
        raise _failure(raw)
    contents = [c for item in response.output for c in item.content or () if item.type == "message"]
    refusals = "".join(content.refusal or "" for content in contents)
    return Answer(
        raw=raw,
        text="".join(c.text or "" for c in contents if c.type == "output_text"),
        finish_reason=_finish_reason(response),
        refusal=refusals or None,
        usage=_usage(response.usage),
        model=response.model,
    )


def checked_event(event: bytes) -> tuple[bytes, bool]:
    """An event of a stream, and whether it is the last.

    Raises:
        GatewayError: It tells of a failure, or is no event.
    """
    try:
        kind = _EVENT.decode(event).type
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise_error_inside(event)
        excerpt = event[:200].decode("utf-8", "replace")
        raise MalformedAnswer(f"not an event ({error}): {excerpt}") from error
    if kind in _FAILED:
        raise _failure(event)
    return event, kind in LAST_EVENTS


def _finish_reason(response: _Response) -> str | None:
    if response.status == "incomplete" and response.incomplete_details is not None:
        reason = response.incomplete_details.reason
        return "length" if reason == "max_output_tokens" else reason
    calls = any(item.type in {"function_call", "custom_tool_call"} for item in response.output)
    return "tool_calls" if calls else "stop" if response.status == "completed" else response.status


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage()
    heard, said = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=heard.cached_tokens if heard is not None else None,
        reasoning_tokens=said.reasoning_tokens if said is not None else None,
    )


def _failure(raw: bytes) -> GatewayError:
    """The error of a failed response, of an event about one, or of an event `error`."""
    parsed: dict[str, Any] = msgspec.json.decode(raw)
    inside = parsed.get("response") or parsed
    error = inside.get("error") if isinstance(inside, dict) else None
    return event_failure(msgspec.json.encode({"error": error or parsed}))

"""Anthropic's Messages API: requests as it wants them, and its answers."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import GatewayError, MalformedAnswer, QuotaExhausted
from gateway.http import Transport, WireRequest, failure_of
from gateway.providers.anthropic_answers import Reading, read_message
from gateway.providers.conversation import Image, Part, Text, ToolCall, ToolResult, Turn, read
from gateway.providers.judged import called, opened
from gateway.providers.messages import (
    BETAS,
    betas,
    count_answer,
    message_answer,
    message_events,
    own_words,
)
from gateway.providers.parrot import wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.providers.sse import events
from gateway.providers.wishes import Tool, ToolChoice, Wishes
from gateway.types import JSON, Answer, JSONObject

_VENDOR = "Anthropic"
_OWN = {"top_p": "top_p", "top_k": "top_k", "thinking": "thinking", "service_tier": "service_tier"}
"""Parameters that Anthropic has under the same name, its own included."""
EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
"""OpenAI's words and one more; which of them a model takes, Anthropic says itself."""
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402,
    "permission_error": 403, "not_found_error": 404, "request_too_large": 413,
    "rate_limit_error": 429, "api_error": 500, "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
"""The status that an error inside a stream would have had."""
DEFAULT_TOKENS = 4096
"""The most that every model of Anthropic's writes; an answer cut there says `length`."""


class Door(Protocol):
    """Where Claude is reached: at Anthropic's, or at a cloud's that speaks the same."""

    async def request(self, payload: dict[str, JSON], *, stream: bool) -> WireRequest:
        """The HTTP request for a Messages body without `model` and `stream`."""
        ...

    async def count(self, payload: dict[str, JSON]) -> WireRequest:
        """The HTTP request that counts the tokens of such a body."""
        ...


class OwnDoor(Door):
    """Anthropic's own API."""

    def __init__(self, endpoint: Endpoint, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._url = base_url + "/messages"
        self._beta = endpoint.options.get("beta")
        self._headers = {
            "Content-Type": "application/json",
            "anthropic-version": str(endpoint.options.get("version", "")),
        }
        if endpoint.secret is not None:
            self._headers["x-api-key"] = endpoint.secret

    @property
    def headers(self) -> Mapping[str, str]:
        """What every request bears, the key included."""
        return self._headers

    @override
    async def request(self, payload: dict[str, JSON], *, stream: bool) -> WireRequest:
        return self._written(self._url, payload | ({"stream": True} if stream else {}))

    @override
    async def count(self, payload: dict[str, JSON]) -> WireRequest:
        return self._written(self._url + "/count_tokens", payload)

    def _written(self, url: str, payload: dict[str, JSON]) -> WireRequest:
        named = betas(self._beta, payload.pop(BETAS, None))
        return WireRequest(
            url=url,
            body=msgspec.json.encode({"model": self._endpoint.model, **payload}),
            headers=self._headers | ({"anthropic-beta": named} if named else {}),
            timeouts=self._endpoint.timeouts,
        )


class AnthropicProvider(Abilities, Provider):
    """Claude.

    Anthropic wants `max_tokens` with every request: it comes from the request, the endpoint's
    `params`, `max_tokens` of its configuration, or is `DEFAULT_TOKENS`.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport, door: Door) -> None:
        self._most = endpoint.options.get("max_tokens") or DEFAULT_TOKENS
        self._transport = transport
        self._door = door

    @override
    async def chat(self, body: JSONObject) -> Answer:
        request = await self._door.request(_payload(body, self._most), stream=False)
        reply = await called(self._transport, request, _failure)
        return read_message(reply.body)

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = await self._door.request(_payload(body, self._most), stream=True)
        reading = Reading(counted=wants_usage(body), failure=failure_inside)
        async with opened(self._transport, request, _failure) as reply:
            async for event in events(reply.chunks):
                for chunk in reading.chunks(event):
                    yield chunk
        if not reading.finished:
            raise MalformedAnswer("the stream ended before the answer did")

    @override
    async def message(self, body: JSONObject) -> Answer:
        request = await self._door.request(own_words(body), stream=False)
        return message_answer((await called(self._transport, request, _failure)).body)

    @override
    async def stream_message(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = await self._door.request(own_words(body), stream=True)
        async with opened(self._transport, request, _failure) as reply:
            async for event in message_events(events(reply.chunks), failure_inside):
                yield event

    @override
    async def count_tokens(self, body: JSONObject) -> Answer:
        request = await self._door.count(own_words(body))
        return count_answer((await called(self._transport, request, _failure)).body)


def batch_params(endpoint: Endpoint, body: JSONObject) -> dict[str, JSON]:
    """What one request of a message batch asks."""
    payload = _payload(body, endpoint.options.get("max_tokens") or DEFAULT_TOKENS)
    payload.pop(BETAS, None)
    return {"model": endpoint.model, **payload}


def _payload(body: JSONObject, most: JSON) -> dict[str, JSON]:
    """A Messages body without `model` and `stream`."""
    wishes, conversation = Wishes(body), read(body)
    asked = wishes.max_tokens()
    payload: dict[str, JSON] = {
        "max_tokens": asked if asked is not None else most,
        "messages": [_message(turn) for turn in conversation.alternating()],
    }
    if conversation.system:
        payload["system"] = _system(conversation.system)
    temperature = wishes.take_number("temperature", low=0, high=1, vendor=_VENDOR)
    if temperature is not None:
        payload["temperature"] = temperature
    payload |= wishes.carry(_OWN) | _output(wishes) | _tools(wishes)
    if (stops := wishes.stops()) is not None:
        payload["stop_sequences"] = stops
    if isinstance(user := body.get("user"), str):
        payload["metadata"] = {"user_id": user}
    wishes.end(_VENDOR)
    return payload


def _system(texts: tuple[str, ...]) -> JSON:
    if len(texts) == 1:
        return texts[0]
    return [{"type": "text", "text": text} for text in texts]


def _output(wishes: Wishes) -> dict[str, JSON]:
    given = wishes.take("output_config")
    config = dict(given) if isinstance(given, dict) else {}
    wanted, effort = wishes.json_format(schema_only=_VENDOR), wishes.effort(EFFORTS, _VENDOR)
    if effort is not None:
        config.setdefault("effort", effort)
    if wanted is not None:
        config["format"] = {"type": "json_schema", "schema": wanted.schema}
    return {"output_config": config} if config else {}


def _tools(wishes: Wishes) -> dict[str, JSON]:
    tools, choice, parallel = (
        wishes.tools(),
        wishes.tool_choice(),
        wishes.take("parallel_tool_calls"),
    )
    if not tools:
        return {}
    payload: dict[str, JSON] = {"tools": [_tool(tool) for tool in tools]}
    if choice is None and parallel is False:
        choice = ToolChoice(kind="auto")
    if choice is not None:
        wanted: dict[str, JSON] = {"type": _CHOICES[choice.kind]}
        if choice.kind == "named":
            wanted["name"] = choice.name
        if parallel is False and choice.kind != "none":
            wanted["disable_parallel_tool_use"] = True
        payload["tool_choice"] = wanted
    return payload


def _tool(tool: Tool) -> JSON:
    written: dict[str, JSON] = {"name": tool.name, "input_schema": tool.schema}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict:
        written["strict"] = True
    return written


def _message(turn: Turn) -> JSON:
    match turn.parts:
        case (Text(text=text),):
            return {"role": turn.role, "content": text}
        case parts:
            return {"role": turn.role, "content": [_block(part) for part in parts]}


def _block(part: Part) -> JSON:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(media_type=str(media_type), base64=str(content)):
            source = {"type": "base64", "media_type": media_type, "data": content}
            return {"type": "image", "source": source}
        case Image(url=url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case ToolCall(id=call_id, name=name, arguments=arguments):
            return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        case ToolResult(id=call_id, content=(Text(text=text),)):
            return {"type": "tool_result", "tool_use_id": call_id, "content": text}
        case ToolResult(id=call_id, content=content):
            blocks = [_block(inner) for inner in content]
            return {"type": "tool_result", "tool_use_id": call_id, "content": blocks}


def failure_inside(kind: str, event: bytes) -> GatewayError:
    """What an error event of a stream means."""
    return _failure(_STATUS.get(kind, 502), {}, event)


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    error = failure_of(status, headers, body)
    broke = "credit balance is too low" in error.message  # A 400, by its status.
    if broke or error.code == "billing_error":
        return QuotaExhausted(error.message, status=status, code=error.code)
    return error

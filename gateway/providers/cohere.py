"""Cohere's API, version 2: requests as it wants them, and its answers."""

from collections.abc import AsyncGenerator, Iterator, Mapping

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import (
    AccessDenied,
    GatewayError,
    InvalidRequest,
    MalformedAnswer,
    QuotaExhausted,
    UnsupportedParameter,
)
from gateway.http import Transport, WireRequest, failure_of
from gateway.providers.cohere_answers import Reading, read_embeddings, read_message
from gateway.providers.conversation import Image, Text, ToolCall, ToolResult, Turn, read
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import called, embedded, encoding_of, opened
from gateway.providers.parrot import wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.providers.sse import events
from gateway.providers.wishes import Tool, Wishes
from gateway.types import JSON, Answer, JSONObject

_VENDOR = "Cohere"
_OWN = {
    "temperature": "temperature", "seed": "seed", "top_k": "k", "k": "k",
    "safety_mode": "safety_mode", "thinking": "thinking", "documents": "documents",
    "citation_options": "citation_options", "priority": "priority",
}  # fmt: skip
_BOUNDS = {"top_p": ("p", 0.01, 0.99), "frequency_penalty": ("frequency_penalty", 0, 1),
           "presence_penalty": ("presence_penalty", 0, 1)}  # fmt: skip
"""Parameters that Cohere honours in a narrower range than OpenAI."""
_CHOICES: Mapping[str, JSON] = {"required": "REQUIRED", "none": "NONE"}
_BAD_TOKEN = 498


class CohereProvider(Abilities, Provider):
    """Command and Embed models."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._base_url = base_url
        self._headers = {"Content-Type": "application/json"}
        if endpoint.secret is not None:
            self._headers["Authorization"] = f"Bearer {endpoint.secret}"

    @override
    async def chat(self, body: JSONObject) -> Answer:
        request = self._request("/chat", _chat(body))
        reply = await called(self._transport, request, _failure)
        return read_message(reply.body, model=self._endpoint.model)

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = self._request("/chat", _chat(body) | {"stream": True})
        reading = Reading(counted=wants_usage(body), model=self._endpoint.model)
        async with opened(self._transport, request, _failure) as reply:
            async for event in events(reply.chunks):
                for chunk in reading.chunks(event):
                    yield chunk
        if not reading.finished:
            raise MalformedAnswer("the stream ended before the answer did")

    @override
    async def embed(self, body: JSONObject) -> Answer:
        encoding = encoding_of(body)
        request = self._request("/embed", _embed(body, self._endpoint.options.get("input_type")))
        reply = await called(self._transport, request, _failure)
        vectors, usage = read_embeddings(reply.body)
        if len(vectors) < len(texts_to_embed(body)):
            raise MalformedAnswer(f"{len(vectors)} embeddings are fewer than there are texts")
        return embedded(vectors, encoding=encoding, usage=usage, model=self._endpoint.model)

    def _request(self, path: str, payload: Mapping[str, JSON]) -> WireRequest:
        return WireRequest(
            url=self._base_url + path,
            body=msgspec.json.encode({"model": self._endpoint.model, **payload}),
            headers=self._headers,
            timeouts=self._endpoint.timeouts,
        )


def _chat(body: JSONObject) -> dict[str, JSON]:
    wishes, conversation = Wishes(body), read(body)
    messages: list[JSON] = [{"role": "system", "content": text} for text in conversation.system]
    for turn in conversation.turns:
        messages.extend(_messages(turn))
    payload: dict[str, JSON] = {"messages": messages, **wishes.carry(_OWN)}
    for name, (ours, low, high) in _BOUNDS.items():
        value = wishes.take_number(name, low=low, high=high, vendor=_VENDOR)
        if value is not None:
            payload[ours] = value
    most, stops, wanted = wishes.max_tokens(), wishes.stops(), wishes.json_format()
    if most is not None:
        payload["max_tokens"] = most
    if stops is not None:
        payload["stop_sequences"] = stops
    if wanted is not None:
        shape: dict[str, JSON] = {"json_schema": wanted.schema} if wanted.schema else {}
        payload["response_format"] = {"type": "json_object", **shape}
    payload |= _tools(wishes)
    wishes.end(_VENDOR)
    return payload


def _tools(wishes: Wishes) -> dict[str, JSON]:
    tools, choice = wishes.tools(), wishes.tool_choice()
    if not tools:
        return {}
    payload: dict[str, JSON] = {"tools": [_tool(tool) for tool in tools]}
    if choice is not None and choice.kind == "named":
        raise UnsupportedParameter("tool_choice", "Cohere cannot be made to call one certain tool")
    if choice is not None and choice.kind in _CHOICES:
        payload["tool_choice"] = _CHOICES[choice.kind]
    if any(tool.strict for tool in tools):
        if not all(tool.strict for tool in tools):
            raise UnsupportedParameter("tools", "Cohere is strict with all tools or with none")
        payload["strict_tools"] = True
    return payload


def _tool(tool: Tool) -> JSON:
    function: dict[str, JSON] = {"name": tool.name, "parameters": tool.schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _messages(turn: Turn) -> Iterator[JSON]:
    match turn.parts:
        case (ToolResult(id=call_id, content=content),):
            if not all(isinstance(part, Text) for part in content):
                raise UnsupportedParameter("messages", "Cohere takes results of tools as text only")
            text = "".join(part.text for part in content if isinstance(part, Text))
            yield {"role": "tool", "tool_call_id": call_id, "content": text}
        case (Text(text=text),):
            yield {"role": turn.role, "content": text}
        case parts:
            said = [_part(part) for part in parts if isinstance(part, Text | Image)]
            calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
            message: dict[str, JSON] = {"role": turn.role}
            if said:
                message["content"] = said
            if calls:
                message["tool_calls"] = calls
            yield message


def _part(part: Text | Image) -> JSON:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.url}}


def _call(call: ToolCall) -> JSON:
    arguments = msgspec.json.encode(call.arguments).decode("utf-8")
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _embed(body: JSONObject, kind: JSON) -> dict[str, JSON]:
    wishes = Wishes(body)
    given = wishes.take("input_type")
    payload: dict[str, JSON] = {
        "texts": list(texts_to_embed(body)),
        "input_type": given if given is not None else kind,
        "embedding_types": ["float"],
        # Its own default cuts long texts without a word.
        "truncate": wishes.take("truncate") or "NONE",
    }
    if payload["input_type"] is None:
        raise InvalidRequest(
            "Cohere needs `input_type`: give it with the request, or declare it for the endpoint "
            "(`cohere_input_type` in `config`), such as `search_document` or `search_query`",
            code="input_type",
        )
    payload |= wishes.carry({"dimensions": "output_dimension"})
    wishes.take("encoding_format")
    wishes.end(_VENDOR)
    return payload


def _failure(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    error = failure_of(status, headers, body)
    if status == _BAD_TOKEN:
        return AccessDenied(error.message, status=status, code=error.code)
    if status == 429 and "/ month" in error.message:  # noqa: PLR2004 - a trial key, used up
        return QuotaExhausted(error.message, status=status, code=error.code)
    return error

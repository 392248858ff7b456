"""AWS Bedrock: chats by Converse and its stream, embeddings and text by InvokeModel."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import (
    EndpointUnavailable,
    MalformedAnswer,
    UnsupportedParameter,
    WrongEndpointType,
)
from gateway.http import Transport, WireRequest
from gateway.providers import anthropic
from gateway.providers.aws_stream import frames
from gateway.providers.bedrock_answers import (
    Reading,
    failure,
    invoked_count,
    invoked_events,
    read_answer,
)
from gateway.providers.bedrock_embedders import embedder_of
from gateway.providers.bedrock_texts import texter_of
from gateway.providers.conversation import Image, Part, Text, ToolCall, ToolResult, Turn, read
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import called, embedded, encoding_of, opened
from gateway.providers.messages import message_answer, message_events, own_words
from gateway.providers.parrot import wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.providers.wishes import JsonFormat, Tool, ToolChoice, Wishes
from gateway.types import JSON, Answer, JSONObject, Usage

if TYPE_CHECKING:
    from gateway.providers.aws_access import Access

_VENDOR = "Bedrock"
_ANTHROPIC_VERSION = "bedrock-2023-05-31"
_OWN = {
    name: name
    for name in (
        "additionalModelRequestFields", "guardrailConfig", "performanceConfig", "promptVariables",
        "requestMetadata", "serviceTier",
    )
}  # fmt: skip
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}


class BedrockProvider(Abilities, Provider):
    """One model, or one inference profile, in one region."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self._model = endpoint.model or ""
        self._purpose = endpoint.options.get("input_type")
        self._transport = transport
        self._endpoint = endpoint
        self._opening = asyncio.Lock()
        self._access: Access | None = None

    @override
    async def chat(self, body: JSONObject) -> Answer:
        request = await self._request("converse", _converse(body))
        reply = await called(self._transport, request, failure)
        return read_answer(reply.body, model=self._model)

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = await self._request("converse-stream", _converse(body))
        reading = Reading(model=self._model)
        async with opened(self._transport, request, failure) as reply:
            async for frame in frames(reply.chunks):
                for chunk in reading.chunks(frame):
                    yield chunk
        if not reading.finished:
            raise MalformedAnswer("the stream ended before the answer did")
        if wants_usage(body):
            yield reading.usage()

    @override
    async def complete(self, body: JSONObject) -> Answer:
        if (texter := texter_of(self._model)) is None:
            raise EndpointUnavailable(f"`{self._model}` completes no text on Bedrock")
        request = await self._request("invoke", texter.payload(_prompt(body), Wishes(body)))
        reply = await called(self._transport, request, failure)
        return texter.answer(reply.body, self._model)

    @override
    async def embed(self, body: JSONObject) -> Answer:
        if (embedder := embedder_of(self._model)) is None:
            raise EndpointUnavailable(f"`{self._model}` is no embeddings model known here")
        encoding, texts = encoding_of(body), texts_to_embed(body)
        vectors: list[list[float]] = []
        heard: int | None = 0
        for payload in embedder.payloads(texts, Wishes(body), self._purpose):
            request = await self._request("invoke", payload)
            reply = await called(self._transport, request, failure)
            found, count = embedder.read(reply.body, reply.headers)
            vectors += found
            heard = heard + count if heard is not None and count is not None else None
        if len(vectors) < len(texts):
            raise MalformedAnswer(f"{len(vectors)} embeddings for {len(texts)} texts")
        usage = Usage(input_tokens=heard)
        return embedded(vectors, encoding=encoding, usage=usage, model=self._model)

    @override
    async def message(self, body: JSONObject) -> Answer:
        request = await self._request("invoke", self._as_claude(body))
        return message_answer((await called(self._transport, request, failure)).body)

    @override
    async def stream_message(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = await self._request("invoke-with-response-stream", self._as_claude(body))
        async with opened(self._transport, request, failure) as reply:
            inside = invoked_events(frames(reply.chunks))
            async for event in message_events(inside, anthropic.failure_inside):
                yield event

    @override
    async def count_tokens(self, body: JSONObject) -> Answer:
        # What is counted has to be whole, and how much may be answered changes nothing.
        whole = {"max_tokens": 1, **self._as_claude(body)}
        asked: JSON = {"body": b64encode(msgspec.json.encode(whole)).decode("ascii")}
        request = await self._request("count-tokens", {"input": {"invokeModel": asked}})
        return invoked_count((await called(self._transport, request, failure)).body)

    def _as_claude(self, body: JSONObject) -> dict[str, JSON]:
        """A body of Anthropic's as Bedrock has it: the model stands in the address.

        Raises:
            WrongEndpointType: It is no model of Anthropic's.
        """
        if "anthropic.claude" not in self._model:
            raise WrongEndpointType(f"`{self._model}` does not speak Anthropic's Messages API")
        return {"anthropic_version": _ANTHROPIC_VERSION, **own_words(body)}

    async def _request(self, verb: str, payload: Mapping[str, JSON]) -> WireRequest:
        access = await self._opened_access()
        base_url = self._endpoint.base_url or access.host("bedrock-runtime")
        return await access.admitted(
            WireRequest(
                url=f"{base_url}/model/{quote(self._model, safe='')}/{verb}",
                body=msgspec.json.encode(payload),
                headers={"Content-Type": "application/json"},
                timeouts=self._endpoint.timeouts,
            )
        )

    async def _opened_access(self) -> "Access":
        # With the first call and in a thread: botocore takes a tenth of a second to import, in
        # which nobody else should have to wait, and most gateways do without.
        async with self._opening:
            if self._access is None:
                self._access = await asyncio.to_thread(_access, self._endpoint, self._transport)
            return self._access


def _access(endpoint: Endpoint, transport: Transport) -> "Access":
    from gateway.providers.aws_access import Access  # noqa: PLC0415

    return Access(endpoint, transport)


def _prompt(body: JSONObject) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise UnsupportedParameter("prompt", "Bedrock continues one text at a time")
    return prompt


def _converse(body: JSONObject) -> dict[str, JSON]:
    wishes, conversation = Wishes(body), read(body)
    payload: dict[str, JSON] = {
        "messages": [_message(turn) for turn in conversation.alternating()],
        **wishes.carry(_OWN),
    }
    if conversation.system:
        payload["system"] = [{"text": text} for text in conversation.system]
    if inference := _inference(wishes):
        payload["inferenceConfig"] = inference
    payload |= _tools(wishes) | _format(wishes)
    if wishes.take("top_k") is not None:
        raise UnsupportedParameter(
            "top_k", "each model on Bedrock has its own name for it: `additionalModelRequestFields`"
        )
    wishes.end(_VENDOR)
    return payload


def _inference(wishes: Wishes) -> dict[str, JSON]:
    found: dict[str, JSON] = {
        "maxTokens": wishes.max_tokens(),
        "temperature": wishes.take_number("temperature", low=0, high=1, vendor=_VENDOR),
        "topP": wishes.take_number("top_p", low=0, high=1, vendor=_VENDOR),
        "stopSequences": wishes.stops(),
    }
    return {name: value for name, value in found.items() if value is not None}


def _format(wishes: Wishes) -> dict[str, JSON]:
    wanted = wishes.json_format(schema_only=_VENDOR)
    effort = wishes.effort(anthropic.EFFORTS, _VENDOR)
    config: dict[str, JSON] = {"effort": effort} if effort is not None else {}
    if wanted is not None:
        config["textFormat"] = _text_format(wanted)
    return {"outputConfig": config} if config else {}


def _text_format(wanted: JsonFormat) -> JSON:
    schema: dict[str, JSON] = {"schema": msgspec.json.encode(wanted.schema).decode("utf-8")}
    more: dict[str, JSON] = {"name": wanted.name, "description": wanted.description}
    schema |= {key: value for key, value in more.items() if value is not None}
    return {"type": "json_schema", "structure": {"jsonSchema": schema}}


def _tools(wishes: Wishes) -> dict[str, JSON]:
    tools, choice = wishes.tools(), wishes.tool_choice()
    if not tools:
        return {}
    config: dict[str, JSON] = {"tools": [_tool(tool) for tool in tools]}
    if choice is not None:
        config["toolChoice"] = _choice(choice)
    return {"toolConfig": config}


def _choice(choice: ToolChoice) -> JSON:
    match choice.kind:
        case "auto":
            return {"auto": {}}
        case "required":
            return {"any": {}}
        case "named":
            return {"tool": {"name": choice.name}}
        case "none":
            raise UnsupportedParameter("tool_choice", "Bedrock cannot forbid the tools it is shown")


def _tool(tool: Tool) -> JSON:
    spec: dict[str, JSON] = {"name": tool.name, "inputSchema": {"json": tool.schema}}
    if tool.description is not None:
        spec["description"] = tool.description
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _message(turn: Turn) -> JSON:
    return {"role": turn.role, "content": [_block(part) for part in turn.parts]}


def _block(part: Part) -> JSON:
    match part:
        case Text(text=text):
            return {"text": text}
        case Image():
            media_type, base64 = part.inline(_VENDOR)
            if media_type not in _FORMATS:
                raise UnsupportedParameter("image_url", f"Bedrock takes no {media_type}")
            return {"image": {"format": _FORMATS[media_type], "source": {"bytes": base64}}}
        case ToolCall(id=call_id, name=name, arguments=arguments):
            return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}
        case ToolResult(id=call_id, content=content):
            blocks = [_block(inner) for inner in content]
            return {"toolResult": {"toolUseId": call_id, "content": blocks}}

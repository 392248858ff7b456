"""Google's Gemini: generateContent and its stream, embeddings; at Google AI or at a cloud door."""

from collections.abc import AsyncGenerator, Mapping
from mimetypes import guess_type
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import InvalidRequest, MalformedAnswer
from gateway.http import Transport, WireRequest
from gateway.providers.conversation import Image, Part, Text, ToolCall, ToolResult, Turn, read
from gateway.providers.echo import texts_to_embed
from gateway.providers.gemini_answers import (
    Reading,
    check_number,
    failure,
    read_answer,
    read_embeddings,
)
from gateway.providers.gemini_logprobs import asked_for
from gateway.providers.judged import called, embedded, encoding_of, opened
from gateway.providers.parrot import wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.providers.sse import events
from gateway.providers.wishes import Tool, ToolChoice, Wishes
from gateway.types import JSON, Answer, JSONObject

_VENDOR = "Gemini"
_GENERATION = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed",
    "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
    "thinking_config": "thinkingConfig", "thinkingConfig": "thinkingConfig",
    "media_resolution": "mediaResolution", "mediaResolution": "mediaResolution",
}  # fmt: skip
"""OpenAI's names and Google's own, to those of `generationConfig`."""
_REQUEST = {
    "safety_settings": "safetySettings", "safetySettings": "safetySettings",
    "cached_content": "cachedContent", "cachedContent": "cachedContent",
}  # fmt: skip
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens of thought per effort: what Google's own server for OpenAI's clients makes of each."""
_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
"""What Google fetches by itself, where the address ends in what it is."""
_LEVELS = frozenset({"minimal", "low", "medium", "high"})
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


class Door(Protocol):
    """Where Gemini is reached."""

    ids: bool
    """Whether calls of tools carry ids there."""

    async def request(self, verb: str, payload: Mapping[str, JSON]) -> WireRequest:
        """The HTTP request for one verb of the model, such as `generateContent`."""
        ...

    def embedding(self, texts: list[str], wishes: Wishes) -> tuple[str, dict[str, JSON]]:
        """Verb and body of a request for embeddings."""
        ...


class KeyDoor(Door):
    """Google AI, with an API key."""

    ids = True

    def __init__(self, endpoint: Endpoint, *, base_url: str) -> None:
        model = endpoint.model or ""
        self._model = model if "/" in model else f"models/{model}"
        self._url = f"{base_url.removesuffix('/models')}/{self._model}:"
        self._timeouts = endpoint.timeouts
        self._headers = {"Content-Type": "application/json"}
        if endpoint.secret is not None:
            self._headers["x-goog-api-key"] = endpoint.secret

    @override
    async def request(self, verb: str, payload: Mapping[str, JSON]) -> WireRequest:
        return WireRequest(
            url=self._url + verb,
            body=msgspec.json.encode(payload),
            headers=self._headers,
            timeouts=self._timeouts,
        )

    @override
    def embedding(self, texts: list[str], wishes: Wishes) -> tuple[str, dict[str, JSON]]:
        more = wishes.carry(
            {"dimensions": "outputDimensionality", "task_type": "taskType", "title": "title"}
        )
        requests: list[JSON] = [
            {"model": self._model, "content": {"parts": [{"text": text}]}, **more} for text in texts
        ]
        return "batchEmbedContents", {"requests": requests}


class GeminiProvider(Abilities, Provider):
    """One Gemini model."""

    def __init__(self, endpoint: Endpoint, transport: Transport, door: Door) -> None:
        self._model = endpoint.model
        self._transport = transport
        self._door = door

    @override
    async def chat(self, body: JSONObject) -> Answer:
        payload = self._payload(body, streamed=False)
        request = await self._door.request("generateContent", payload)
        reply = await called(self._transport, request, failure)
        logprobs = body.get("logprobs") is True
        return read_answer(reply.body, n=_number(body.get("n")), logprobs=logprobs)

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        payload = self._payload(body, streamed=True)
        request = await self._door.request("streamGenerateContent?alt=sse", payload)
        reading = Reading()
        async with opened(self._transport, request, failure) as reply:
            async for event in events(reply.chunks):
                for chunk in reading.chunks(event):
                    yield chunk
        if not reading.finished:
            raise MalformedAnswer("the stream ended before the answer did")
        check_number(reading.answers, _number(body.get("n")))
        if wants_usage(body):
            yield reading.usage()

    @override
    async def embed(self, body: JSONObject) -> Answer:
        encoding, wishes = encoding_of(body), Wishes(body)
        texts = texts_to_embed(body)
        verb, payload = self._door.embedding(texts, wishes)
        wishes.take("encoding_format")
        wishes.end(_VENDOR)
        request = await self._door.request(verb, payload)
        reply = await called(self._transport, request, failure)
        vectors, usage = read_embeddings(reply.body)
        if len(vectors) < len(texts):
            raise MalformedAnswer(f"{len(vectors)} embeddings for {len(texts)} texts")
        return embedded(vectors, encoding=encoding, usage=usage, model=self._model)

    def _payload(self, body: JSONObject, *, streamed: bool) -> dict[str, JSON]:
        budgets = "gemini-2" in (self._model or "")
        return _payload(body, ids=self._door.ids, budgets=budgets, streamed=streamed)


def _payload(body: JSONObject, *, ids: bool, budgets: bool, streamed: bool) -> dict[str, JSON]:
    wishes, conversation = Wishes(body), read(body)
    turns = [_content(turn, ids=ids) for turn in conversation.alternating()]
    payload: dict[str, JSON] = {"contents": turns, **wishes.carry(_REQUEST)}
    if conversation.system:
        payload["systemInstruction"] = {"parts": [{"text": text} for text in conversation.system]}
    payload |= (tools := _tools(wishes))
    config = _generation(wishes, budgets=budgets)
    config |= asked_for(wishes, vendor=_VENDOR, streamed=streamed, tools=bool(tools))
    if config:
        payload["generationConfig"] = config
    wishes.end(_VENDOR)
    return payload


def _generation(wishes: Wishes, *, budgets: bool) -> dict[str, JSON]:
    config = wishes.carry(_GENERATION)
    if thinking := _thinking(wishes, budgets=budgets):
        given = config.get("thinkingConfig")
        config["thinkingConfig"] = thinking | (given if isinstance(given, dict) else {})
    most, stops, wanted = wishes.max_tokens(), wishes.stops(), wishes.json_format()
    if (n := _number(wishes.take("n"))) > 1:
        config["candidateCount"] = n
    if most is not None:
        config["maxOutputTokens"] = most
    if stops is not None:
        config["stopSequences"] = stops
    if wanted is not None:
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = wanted.schema
    return config


def _number(n: JSON) -> int:
    """How many answers are wanted."""
    if n is None:
        return 1
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidRequest("`n` must be a whole number, 1 at least", code="n")
    return n


def _thinking(wishes: Wishes, *, budgets: bool) -> dict[str, JSON]:
    """The effort, of which models before 3 think for so many tokens, and later ones so deeply."""
    effort = wishes.effort(frozenset(_BUDGETS) if budgets else _LEVELS, _VENDOR)
    if effort is None:
        return {}
    return {"thinkingBudget": _BUDGETS[effort]} if budgets else {"thinkingLevel": effort}


def _tools(wishes: Wishes) -> dict[str, JSON]:
    tools, choice = wishes.tools(), wishes.tool_choice()
    if not tools:
        return {}
    payload: dict[str, JSON] = {"tools": [{"functionDeclarations": [_tool(t) for t in tools]}]}
    mode = _mode(choice, strict=any(tool.strict for tool in tools))
    if mode is not None:
        calling: dict[str, JSON] = {"mode": mode}
        if choice is not None and choice.kind == "named":
            calling["allowedFunctionNames"] = [choice.name]
        payload["toolConfig"] = {"functionCallingConfig": calling}
    return payload


def _mode(choice: ToolChoice | None, *, strict: bool) -> str | None:
    """`ANY` keeps to the schemas of its own accord; free choice does so when it is `VALIDATED`."""
    if strict and (choice is None or choice.kind == "auto"):
        return "VALIDATED"
    return _MODES[choice.kind] if choice is not None else None


def _tool(tool: Tool) -> JSON:
    written: dict[str, JSON] = {"name": tool.name, "parametersJsonSchema": tool.schema}
    if tool.description is not None:
        written["description"] = tool.description
    return written


def _content(turn: Turn, *, ids: bool) -> JSON:
    role = "model" if turn.role == "assistant" else "user"
    return {"role": role, "parts": [_part(part, ids=ids) for part in turn.parts]}


def _part(part: Part, *, ids: bool) -> JSON:
    match part:
        case Text(text=text):
            return {"text": text}
        case Image(base64=None, url=url) if (media_type := _picture(url)) is not None:
            return {"fileData": {"mimeType": media_type, "fileUri": url}}
        case Image():
            media_type, base64 = part.inline(_VENDOR)
            return {"inlineData": {"mimeType": media_type, "data": base64}}
        case ToolCall(id=call_id, name=name, arguments=arguments):
            call: dict[str, JSON] = {"name": name, "args": arguments}
            return {"functionCall": call | _id(call_id, ids=ids), **_signature(part)}
        case ToolResult(id=call_id, name=name, content=content):
            response: dict[str, JSON] = {"name": name, "response": {"output": part.text}}
            pictures = [_part(inner, ids=ids) for inner in content if isinstance(inner, Image)]
            if pictures:
                response["parts"] = pictures
            return {"functionResponse": response | _id(call_id, ids=ids)}


def _picture(url: str) -> str | None:
    """The media type of a picture that can be fetched, by the end of its address."""
    found = guess_type(urlsplit(url).path)[0]
    return found if found in _PICTURES else None


def _id(call_id: str, *, ids: bool) -> dict[str, JSON]:
    return {"id": call_id} if ids else {}


def _signature(call: ToolCall) -> dict[str, JSON]:
    """The thought behind a call, sealed: Gemini wants it back with the call."""
    match call.extra:
        case {"google": {"thought_signature": str(signature)}}:
            return {"thoughtSignature": signature}
        case _:
            return {}

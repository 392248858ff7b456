"""Google's PaLM API (`v1beta3`), which is shut down; for servers that still speak it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import MalformedAnswer
from gateway.http import Transport, WireRequest, call
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import Spoken, decoded, embedded, encoding_of
from gateway.providers.parrot import content_text, messages_of, prompt_of
from gateway.providers.provider import Abilities, Provider
from gateway.providers.wishes import Wishes
from gateway.types import JSON, Answer, JSONObject, Usage

_SAMPLING = {"top_p": "topP", "top_k": "topK"}


class _Candidate(msgspec.Struct):
    output: str | None = None
    content: str | None = None


class _Filter(msgspec.Struct):
    reason: str = ""


class _Answer(msgspec.Struct):
    candidates: list[_Candidate] = []
    filters: list[_Filter] = []


class _Vector(msgspec.Struct):
    value: list[float]


class _Vectors(msgspec.Struct):
    embeddings: list[_Vector]


_ANSWER = msgspec.json.Decoder(_Answer)
_VECTORS = msgspec.json.Decoder(_Vectors)


class PalmProvider(Abilities, Provider):
    """Messages, text and embeddings; no streams, no token counts."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._url = f"{base_url}/models/{endpoint.model}:"

    @override
    async def chat(self, body: JSONObject) -> Answer:
        payload = {"prompt": _conversation(body), **_sampling(Wishes(body))}
        raw = await self._sent("generateMessage", payload)
        return self._spoken(raw, lambda candidate: candidate.content).answer()

    @override
    async def complete(self, body: JSONObject) -> Answer:
        wishes = Wishes(body)
        payload: dict[str, JSON] = {"prompt": {"text": prompt_of(body)}}
        if (limit := wishes.max_tokens()) is not None:
            payload["maxOutputTokens"] = limit
        if (stops := wishes.stops()) is not None:
            payload["stopSequences"] = stops
        raw = await self._sent("generateText", payload | _sampling(wishes))
        return self._spoken(raw, lambda candidate: candidate.output).text_answer()

    @override
    async def embed(self, body: JSONObject) -> Answer:
        encoding = encoding_of(body)
        Wishes({k: x for k, x in body.items() if k != "encoding_format"}).end("PaLM")
        texts: list[JSON] = [*texts_to_embed(body)]
        raw = await self._sent("batchEmbedText", {"texts": texts})
        found = decoded(_VECTORS, raw, "vectors of PaLM")
        values = [vector.value for vector in found.embeddings]
        return embedded(values, encoding=encoding, usage=Usage(), model=self._endpoint.model)

    async def _sent(self, method: str, payload: Mapping[str, JSON]) -> bytes:
        request = WireRequest(
            url=self._url + method,
            body=msgspec.json.encode(payload),
            headers={
                "Content-Type": "application/json",
                "x-goog-api-key": self._endpoint.secret or "",
            },
            timeouts=self._endpoint.timeouts,
        )
        return (await call(self._transport, request)).body

    def _spoken(self, raw: bytes, text_of: Callable[[_Candidate], str | None]) -> Spoken:
        answer = decoded(_ANSWER, raw, "an answer of PaLM")
        text = text_of(answer.candidates[0]) if answer.candidates else None
        if text is None and not answer.filters:
            raise MalformedAnswer(f"an answer without candidates: {raw[:200]!r}")
        reason = "content_filter" if text is None else None
        model = self._endpoint.model
        return Spoken(text=text or "", finish_reason=reason, usage=Usage(), model=model)


def _conversation(body: JSONObject) -> dict[str, JSON]:
    """System messages are its `context`, the others have an author."""
    messages = messages_of(body)
    context = [content_text(m) for m in messages if m.get("role") == "system"]
    said: list[JSON] = [
        {"author": str(m.get("role")), "content": content_text(m)}
        for m in messages
        if m.get("role") != "system"
    ]
    return {**({"context": "\n".join(context)} if context else {}), "messages": said}


def _sampling(wishes: Wishes) -> dict[str, JSON]:
    """Its temperature goes from 0 to 1, and is never scaled into that."""
    found: dict[str, Any] = wishes.carry(_SAMPLING)
    temperature = wishes.take_number("temperature", low=0, high=1, vendor="PaLM")
    wishes.end("PaLM")
    return found if temperature is None else found | {"temperature": temperature}

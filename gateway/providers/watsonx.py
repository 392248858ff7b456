"""IBM watsonx.ai: OpenAI's chats under IBM's paths and names, with tokens that run out."""

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.http import Transport, WireRequest, call
from gateway.providers.access import bearer_tokens
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import decoded, embedded, encoding_of
from gateway.providers.openai import OpenAIProvider
from gateway.providers.parrot import refuse_unknown
from gateway.types import JSON, Answer, JSONObject, Usage


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    results: list[_Vector]
    input_token_count: int | None = None


_VECTORS = msgspec.json.Decoder(_Vectors)


class WatsonxProvider(OpenAIProvider):
    """Chats and embeddings of one project or space."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        super().__init__(endpoint, transport, base_url=base_url)
        self._root = f"{base_url}/ml/v1/text"
        self._version = f"?version={endpoint.options.get('version')}"
        self._tokens = bearer_tokens(endpoint, transport)
        self._whose: dict[str, JSON] = {"model_id": endpoint.model} | {
            key: endpoint.options[key]
            for key in ("project_id", "space_id")
            if key in endpoint.options
        }

    @override
    async def embed(self, body: JSONObject) -> Answer:
        texts, encoding = texts_to_embed(body), encoding_of(body)
        refuse_unknown(body, {"input", "model", "user", "encoding_format"})
        request = await self._addressed("/embeddings", {"inputs": list(texts)})
        raw = (await call(self._transport, request)).body
        found = decoded(_VECTORS, raw, "vectors of watsonx")
        return embedded(
            [vector.embedding for vector in found.results],
            encoding=encoding,
            usage=Usage(input_tokens=found.input_token_count),
            model=str(self._whose["model_id"]),
        )

    @override
    async def _request(self, path: str, body: JSONObject) -> WireRequest:
        """Streams have a path of their own, and a choice by word a name of its own."""
        fitted = self._fit(body)
        path = "/chat_stream" if fitted.pop("stream", None) else "/chat"
        fitted.pop("model", None)
        if isinstance(choice := fitted.get("tool_choice"), str):
            fitted["tool_choice_option"] = choice
            del fitted["tool_choice"]
        return await self._addressed(path, fitted)

    async def _addressed(self, path: str, body: dict[str, JSON]) -> WireRequest:
        return WireRequest(
            url=self._root + path + self._version,
            body=msgspec.json.encode(body | self._whose),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {await self._tokens()}",
            },
            timeouts=self._timeouts,
        )

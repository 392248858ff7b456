"""A provider without a model behind it: answers at once with what it was asked."""

import asyncio
from collections.abc import AsyncGenerator

from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import InvalidRequest
from gateway.providers import dialect, parrot
from gateway.providers.provider import Abilities, Provider
from gateway.types import Answer, JSONObject, Usage


class EchoProvider(Abilities, Provider):
    """Says back the last user message, or always the configured `reply`."""

    def __init__(self, endpoint: Endpoint) -> None:
        options = endpoint.options
        self._model = endpoint.model or "echo"
        self._reply = reply if isinstance(reply := options.get("reply"), str) else None
        latency = options.get("latency_ms")
        self._latency = float(latency) / 1000 if isinstance(latency, int | float) else 0.0

    @override
    async def chat(self, body: JSONObject) -> Answer:
        spoken = await self._spoken(body)
        choice = dialect.chat_choice(spoken.text, finish_reason=spoken.finish_reason)
        return dialect.chat_answer(
            dialect.chat_body([choice], usage=spoken.usage, model=self._model)
        )

    @override
    async def complete(self, body: JSONObject) -> Answer:
        spoken = await self._spoken(body)
        return dialect.text_answer(
            dialect.text_body(
                spoken.text,
                finish_reason=spoken.finish_reason,
                usage=spoken.usage,
                model=self._model,
            )
        )

    @override
    async def embed(self, body: JSONObject) -> Answer:
        texts = texts_to_embed(body)
        usage = Usage(input_tokens=sum(len(parrot.tokens(text)) for text in texts))
        vectors = [parrot.vector(text) for text in texts]
        raw = dialect.embeddings_body(vectors, usage=usage, model=self._model)
        return dialect.embeddings_answer(raw)

    @override
    def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._chunks(body, chat=True)

    @override
    def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._chunks(body, chat=False)

    async def _chunks(self, body: JSONObject, *, chat: bool) -> AsyncGenerator[bytes, None]:
        spoken = await self._spoken(body)
        writer = dialect.ChunkWriter(chat=chat, model=self._model)
        for piece in spoken.pieces:
            yield writer.piece(piece)
        yield writer.piece(None, finish_reason=spoken.finish_reason)
        if parrot.wants_usage(body):
            yield writer.usage(spoken.usage)

    async def _spoken(self, body: JSONObject) -> parrot.Spoken:
        spoken = parrot.speak(body, reply=self._reply)
        if self._latency:
            await asyncio.sleep(self._latency)
        return spoken


def texts_to_embed(body: JSONObject) -> list[str]:
    """`input` as a list of texts.

    Raises:
        InvalidRequest: It is neither a text nor a list of texts.
    """
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidRequest("`input` must be a text or a list of texts")
    checked = [text for text in texts if isinstance(text, str)]
    if len(checked) != len(texts):
        raise InvalidRequest("`input` must be a text or a list of texts")
    return checked

"""Text completions of a model that only chats, as MLflow 2.8 asked OpenAI's for them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from typing_extensions import override

from gateway.errors import UnsupportedParameter
from gateway.providers import dialect
from gateway.providers.provider import Abilities, Provider
from gateway.types import JSON, Answer, JSONObject

_NOT_IN_CHAT = frozenset({"echo", "best_of", "suffix", "logprobs"})
_COMPLETES = ("-instruct", "davinci-002", "babbage-002")
"""Endings of OpenAI's models that still have the completions interface."""


def completes_by_chat(model: str | None) -> bool:
    """Whether a model of OpenAI's own has no completions interface."""
    return model is not None and not model.endswith(_COMPLETES)


class CompletionsByChat(Abilities, Provider):
    """The prompt becomes the one user message, and the message of the answer its text."""

    def __init__(self, chatting: Provider) -> None:
        self._chatting = chatting

    @override
    async def complete(self, body: JSONObject) -> Answer:
        answer = await self._chatting.chat(_as_chat(body))
        return dialect.text_answer(_as_text(answer.raw, "message"))

    @override
    async def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._chatting.stream_chat(_as_chat(body))) as chunks:
            async for chunk in chunks:
                yield _as_text(chunk, "delta")


def _as_chat(body: JSONObject) -> dict[str, JSON]:
    for name in _NOT_IN_CHAT & body.keys():
        if body[name] is not None:
            raise UnsupportedParameter(name, "this model completes text by chatting")
    rest = {key: value for key, value in body.items() if key != "prompt"}
    return {"messages": [{"role": "user", "content": body.get("prompt")}], **rest}


def _as_text(raw: bytes, part: str) -> bytes:
    body: dict[str, Any] = msgspec.json.decode(raw)
    for choice in body["choices"]:
        said = choice.pop(part, None) or {}
        choice["text"] = said.get("content") or said.get("refusal") or ""
    return msgspec.json.encode(body | {"object": "text_completion"})

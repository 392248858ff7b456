"""A model behind `mlflow models serve`: `POST /invocations`."""

from dataclasses import replace
from http import HTTPStatus

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.http import Transport, WireRequest, call
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import embedded, encoding_of
from gateway.providers.parrot import content_text, messages_of, prompt_of, refuse_unknown
from gateway.providers.predictions import first_spoken, predictions, vectors
from gateway.providers.provider import Abilities, Provider
from gateway.types import JSON, Answer, JSONObject, Usage

_NOT_PARAMS = frozenset({"messages", "prompt", "input", "model", "stream", "stream_options"})
_NOT_IN_CHAT = frozenset({"model", "stream", "stream_options"})


class MlflowServingProvider(Abilities, Provider):
    """Sends what MLflow's own gateway sends, and several messages besides.

    A server does not tell its model's signature. `input_form: auto` begins with MLflow's form;
    when the model's schema refuses it because it takes messages, the request is sent once more
    as `{"messages": ...}`, and that form is kept.

    The served model decides which of `params` it takes; MLflow drops the others with a warning
    in its own log and does not tell the caller.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._model = endpoint.model
        self._timeouts = endpoint.timeouts
        self._transport = transport
        self._url = base_url + "/invocations"
        self._form = endpoint.options.get("input_form", "auto")

    @override
    async def chat(self, body: JSONObject) -> Answer:
        spoken = first_spoken(await self._chatted(body))
        return replace(spoken, model=spoken.model or self._model).answer()

    @override
    async def complete(self, body: JSONObject) -> Answer:
        spoken = first_spoken(await self._invoked([prompt_of(body)], body))
        return replace(spoken, model=spoken.model or self._model).text_answer()

    @override
    async def embed(self, body: JSONObject) -> Answer:
        texts, encoding = texts_to_embed(body), encoding_of(body)
        refuse_unknown(body, {"input", "model", "user", "encoding_format"})
        found = vectors(await self._invoked(list(texts), {}), n=len(texts))
        return embedded(found, encoding=encoding, usage=Usage(), model=self._model)

    async def _chatted(self, body: JSONObject) -> object:
        rich = _is_rich(body)
        if self._form == "chat" or (self._form == "auto" and rich):
            return await self._conversed(body)
        if rich:
            raise UnsupportedParameter(rich, "set `input_form: chat` for models that take it")
        try:
            return await self._invoked(self._inputs(body), body)
        except InvalidRequest as error:
            if self._form != "auto" or not _takes_messages(error):
                raise
        answer = await self._conversed(body)
        self._form = "chat"
        return answer

    def _inputs(self, body: JSONObject) -> list[JSON]:
        messages = messages_of(body)
        alone = len(messages) == 1 and messages[0].get("role") == "user"
        if self._form == "strings" and not alone:
            raise UnsupportedParameter(
                "messages", "with `input_form: strings` there is room for one user message"
            )
        if self._form == "strings" or (self._form == "auto" and alone):
            return [content_text(messages[0])]
        return [{"role": str(m.get("role")), "content": content_text(m)} for m in messages]

    async def _conversed(self, body: JSONObject) -> object:
        """The request as it is, which MLflow hands to `predict` as one dictionary."""
        messages_of(body)
        _check_one(body)
        return await self._sent({k: v for k, v in body.items() if k not in _NOT_IN_CHAT})

    async def _invoked(self, inputs: list[JSON], body: JSONObject) -> object:
        _check_one(body)
        payload: dict[str, JSON] = {"inputs": inputs}
        if body:
            params = {k: v for k, v in body.items() if k not in _NOT_PARAMS}
            payload["params"] = {"n": 1} | params
        return await self._sent(payload)

    async def _sent(self, payload: dict[str, JSON]) -> object:
        request = WireRequest(
            url=self._url,
            body=msgspec.json.encode(payload),
            headers={"Content-Type": "application/json"},
            timeouts=self._timeouts,
        )
        return predictions((await call(self._transport, request)).body)


def _check_one(body: JSONObject) -> None:
    if body.get("n") not in (None, 1):
        raise UnsupportedParameter("n", "this provider gives one answer")


def _is_rich(body: JSONObject) -> str | None:
    """What only a conversation has room for, by name; None when there is nothing of the kind."""
    for name in ("tools", "tool_choice", "response_format"):
        if body.get(name) is not None:
            return name
    plain = all(isinstance(message.get("content"), str) for message in messages_of(body))
    return None if plain else "messages"


def _takes_messages(error: InvalidRequest) -> bool:
    """Whether a model's schema refused an input because messages are what it takes."""
    words = error.message
    return error.status == HTTPStatus.BAD_REQUEST and "schema" in words and "role" in words

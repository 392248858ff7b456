"""A model behind `mlflow models serve`: `POST /invocations`."""

from collections.abc import Mapping
from typing import Any

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import MalformedAnswer, UnsupportedParameter
from gateway.http import Transport, WireRequest, call
from gateway.providers import dialect
from gateway.providers.echo import texts_to_embed
from gateway.providers.parrot import content_text, messages_of, prompt_of
from gateway.providers.provider import Abilities, Provider
from gateway.types import JSON, Answer, JSONObject, Usage

_NOT_PARAMS = frozenset({"messages", "prompt", "input", "model", "stream", "stream_options"})


class MlflowServingProvider(Abilities, Provider):
    """Sends what MLflow's own gateway sends, and several messages besides.

    The served model decides which of `params` it takes; MLflow drops the others with a warning
    in its own log and does not tell the caller.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._url = base_url + "/invocations"

    @override
    async def chat(self, body: JSONObject) -> Answer:
        text, finish = _first_text(await self._invoke(self._chat_inputs(body), body))
        raw = dialect.chat_body(
            text, finish_reason=finish, usage=Usage(), model=self._endpoint.model
        )
        return dialect.chat_answer(raw)

    @override
    async def complete(self, body: JSONObject) -> Answer:
        text, finish = _first_text(await self._invoke([prompt_of(body)], body))
        raw = dialect.text_body(
            text, finish_reason=finish, usage=Usage(), model=self._endpoint.model
        )
        return dialect.text_answer(raw)

    @override
    async def embed(self, body: JSONObject) -> Answer:
        vectors = _vectors(await self._invoke(list(texts_to_embed(body)), {}))
        raw = dialect.embeddings_body(vectors, usage=Usage(), model=self._endpoint.model)
        return dialect.embeddings_answer(raw)

    def _chat_inputs(self, body: JSONObject) -> list[JSON]:
        messages = messages_of(body)
        form = self._endpoint.options.get("input_form", "auto")
        alone = len(messages) == 1 and messages[0].get("role") == "user"
        if form == "strings" and not alone:
            raise UnsupportedParameter(
                "messages", "with `input_form: strings` there is room for one user message"
            )
        if form == "strings" or (form == "auto" and alone):
            return [content_text(messages[0])]
        return [{"role": str(m.get("role")), "content": content_text(m)} for m in messages]

    async def _invoke(self, inputs: list[JSON], body: JSONObject) -> object:
        if body.get("n") not in {None, 1}:
            raise UnsupportedParameter("n", "this provider gives one answer")
        payload: dict[str, JSON] = {"inputs": inputs}
        if body:
            params = {k: v for k, v in body.items() if k not in _NOT_PARAMS}
            payload["params"] = {"n": 1} | params
        request = WireRequest(
            url=self._url,
            body=msgspec.json.encode(payload),
            headers={"Content-Type": "application/json"},
            timeouts=self._endpoint.timeouts,
        )
        reply = await call(self._transport, request)
        return _predictions(reply.body)


def _predictions(raw: bytes) -> object:
    try:
        body: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"not an answer of a model server: {raw[:200]!r}") from error
    # The transformers flavour with task llm/v1/chat answers without the wrapper.
    return body.get("predictions", body) if isinstance(body, dict) else body


def _first_text(predictions: object) -> tuple[str, str | None]:
    """Text and finish reason of the first prediction, in any of the shapes models answer in."""
    match predictions:
        case str():
            return predictions, None
        case [first, *_]:
            return _first_text(first)
        case {"choices": [first, *_]}:
            return _choice(first)
        case {"candidates": [first, *_]}:
            return _choice(first)
        case Mapping() if len(predictions) == 1:
            return _first_text(next(iter(predictions.values())))
        case {"generated_text": str(text)} | {"text": str(text)} | {"content": str(text)}:
            return text, None
        case _:
            raise MalformedAnswer(f"predictions without text: {str(predictions)[:200]}")


def _choice(choice: object) -> tuple[str, str | None]:
    match choice:
        case {"message": {"content": str(text)}, **rest} | {"text": str(text), **rest}:
            finish = rest.get("finish_reason")
            return text, str(finish) if finish is not None else None
        case _:
            return _first_text(choice)


def _vectors(predictions: object) -> list[list[float]]:
    rows: Any = predictions
    if isinstance(rows, dict) and len(rows) == 1:
        rows = next(iter(rows.values()))
    if isinstance(rows, list) and rows and all(isinstance(x, int | float) for x in rows):
        rows = [rows]
    try:
        return msgspec.convert(rows, list[list[float]])
    except msgspec.ValidationError as error:
        raise MalformedAnswer(f"predictions that are no vectors: {str(rows)[:200]}") from error

"""OpenAI's interface: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`."""

import base64
import struct
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Protocol

import msgspec
from starlette.routing import Route

from gateway.client import Gateway
from gateway.config import Wire
from gateway.errors import GatewayError, InvalidRequest
from gateway.surfaces.exchange import (
    Call,
    EventStream,
    Reply,
    Whole,
    data_frame,
    data_frames,
    encode,
    route,
    while_connected,
)
from gateway.surfaces.refusals import openai_body, openai_refusal
from gateway.tickets import Ticket
from gateway.types import JSON, Answer, JSONObject


class Ask(Protocol):
    """A way to ask for a whole answer."""

    def __call__(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None
    ) -> Coroutine[Any, Any, Answer]:
        """Ask."""
        ...


class Stream(Protocol):
    """A way to ask for chunks."""

    def __call__(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None
    ) -> AsyncGenerator[bytes, None]:
        """Ask."""
        ...


class OpenAISurface:
    """Endpoints are models here: `model` names one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Routes under `/v1`, those asked most first."""
        return [
            route("POST", "/v1/chat/completions", self.chat, openai_refusal),
            route("POST", "/v1/embeddings", self.embed, openai_refusal),
            route("POST", "/v1/completions", self.complete, openai_refusal),
            route("GET", "/v1/models", self.models, openai_refusal),
            route("GET", "/v1/models/{name}", self.model, openai_refusal),
        ]

    async def chat(self, call: Call) -> Reply:
        """One chat completion, whole or streamed."""
        return await self._asked(call, self._gateway.chat, self._gateway.stream_chat)

    async def complete(self, call: Call) -> Reply:
        """One text completion, whole or streamed."""
        return await self._asked(call, self._gateway.complete, self._gateway.stream_complete)

    async def embed(self, call: Call) -> Reply:
        """Embeddings, as numbers or as the base64 that OpenAI's SDK asks for by itself."""
        body = await call.body()
        name = model_of(body)
        packed = body.get("encoding_format") == "base64"
        if packed and self._gateway.endpoint(name).wire is not Wire.OPENAI:
            del body["encoding_format"]
        answer = await while_connected(
            call.receive, self._gateway.embed(name, body, ticket=call.ticket)
        )
        if packed and "encoding_format" not in body:
            return Whole(as_base64(answer.raw))
        return Whole(answer.raw)

    async def models(self, _: Call) -> Reply:
        """Every name that can be asked."""
        catalog = self._gateway.catalog
        models = [_model(name) for name in [*catalog.endpoints, *catalog.routes]]
        return Whole(encode({"object": "list", "data": models}))

    async def model(self, call: Call) -> Reply:
        """One of them."""
        name = call.parameter("name")
        self._gateway.endpoint(name)
        return Whole(encode(_model(name)))

    async def _asked(self, call: Call, ask: Ask, stream: Stream) -> Reply:
        body = await call.body()
        name = model_of(body)
        if body.pop("stream", None):
            frames = data_frames(stream(name, body, ticket=call.ticket))
            return await while_connected(call.receive, EventStream.begin(frames, failure=_event))
        answer = await while_connected(call.receive, ask(name, body, ticket=call.ticket))
        return Whole(answer.raw)


def model_of(body: dict[str, JSON]) -> str:
    """Take the name of the endpoint out of a body."""
    name = body.pop("model", None)
    if not isinstance(name, str) or not name:
        raise InvalidRequest("you must provide a `model`: the name of an endpoint", code="model")
    return name


def _event(error: GatewayError) -> bytes:
    return data_frame(openai_body(error))


def _model(name: str) -> dict[str, JSON]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "hikaku"}


def as_base64(raw: bytes) -> bytes:
    """Embeddings as little-endian 32-bit floats in base64."""
    body: dict[str, Any] = msgspec.json.decode(raw)
    for item in body["data"]:
        vector = item["embedding"]
        if isinstance(vector, list):
            floats = struct.pack(f"<{len(vector)}f", *vector)
            item["embedding"] = base64.b64encode(floats).decode("ascii")
    return encode(body)

"""OpenAI's Responses API, `/v1/responses`, for every endpoint that chats."""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.surfaces.exchange import (
    Call,
    EventStream,
    Reply,
    Whole,
    encode,
    named_frame,
    route,
    while_connected,
)
from gateway.surfaces.openai import model_of
from gateway.surfaces.refusals import openai_refusal
from gateway.surfaces.responses_answer import Head, response_of
from gateway.surfaces.responses_events import ResponseEvents
from gateway.surfaces.responses_request import to_chat
from gateway.surfaces.said import read, translated
from gateway.types import JSON


class ResponsesSurface:
    """Asks by chat, answers as a response."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """OpenAI's path, and the one below MLflow's server."""
        paths = ("/v1/responses", "/gateway/openai/v1/responses")
        return [route("POST", path, self._respond, openai_refusal) for path in paths]

    async def _respond(self, call: Call) -> Reply:
        body = await call.body()
        name = model_of(body)
        self._gateway.endpoint(name)
        chat = to_chat(body)
        if body.get("stream"):
            return await while_connected(call.receive, self._begun(name, body, chat))
        answer = await while_connected(call.receive, self._answered(name, body, chat))
        return Whole(encode(answer))

    async def _answered(
        self, name: str, body: dict[str, JSON], chat: dict[str, JSON]
    ) -> dict[str, JSON]:
        answer = await self._gateway.chat(name, chat)
        return response_of(body, name, read(answer.raw))

    async def _begun(self, name: str, body: dict[str, JSON], chat: dict[str, JSON]) -> EventStream:
        chat["stream_options"] = {"include_usage": True}
        events = ResponseEvents(Head.of(body, name))
        frames = translated(self._gateway.stream_chat(name, chat), events)
        return await EventStream.begin(
            frames, failure=lambda error: named_frame(events.fail(error)), end=b""
        )

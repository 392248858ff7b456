"""OpenAI's Responses API, `/v1/responses`, for every endpoint that chats.

Vendors that have it are sent the request as it came; the others are asked by chat.
"""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.errors import GatewayError
from gateway.providers import has_responses
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
from gateway.surfaces.refusals import openai_error, openai_refusal
from gateway.surfaces.responses_answer import Head, response_of
from gateway.surfaces.responses_events import ResponseEvents
from gateway.surfaces.responses_request import to_chat
from gateway.surfaces.said import passed_events, read, translated
from gateway.types import JSON


class ResponsesSurface:
    """Passes on to who has the API, else asks by chat and answers as a response."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """OpenAI's path, and the one below MLflow's server."""
        paths = ("/v1/responses", "/gateway/openai/v1/responses")
        return [route("POST", path, self._respond, openai_refusal) for path in paths]

    async def _respond(self, call: Call) -> Reply:
        body = await call.body()
        name = model_of(body)
        if self._has_it(name):
            return await while_connected(call.receive, self._passed(call, name, body))
        return await while_connected(call.receive, self._translated(call, name, body))

    def _has_it(self, name: str) -> bool:
        """Whether whoever may answer has the API, a fallback too."""
        return all(has_responses(endpoint) for endpoint in self._gateway.answerers(name))

    async def _passed(self, call: Call, name: str, body: dict[str, JSON]) -> Reply:
        if not body.pop("stream", None):
            return Whole((await self._gateway.respond(name, body, ticket=call.ticket)).raw)
        frames = passed_events(self._gateway.stream_respond(name, body, ticket=call.ticket))
        return await EventStream.begin(frames, failure=_broken, end=b"")

    async def _translated(self, call: Call, name: str, body: dict[str, JSON]) -> Reply:
        chat = to_chat(body)
        if not body.get("stream"):
            answer = await self._gateway.chat(name, chat, ticket=call.ticket)
            return Whole(encode(response_of(body, name, read(answer.raw))))
        chat["stream_options"] = {"include_usage": True}
        events = ResponseEvents(Head.of(body, name))
        chunks = self._gateway.stream_chat(name, chat, ticket=call.ticket)
        return await EventStream.begin(
            translated(chunks, events),
            failure=lambda error: named_frame(events.fail(error)),
            end=b"",
        )


def _broken(error: GatewayError) -> bytes:
    found = openai_error(error)
    fault = {name: found[name] for name in ("message", "param", "code")}
    return named_frame({"type": "error", "sequence_number": 0, **fault})

"""Anthropic's interface, `/anthropic/v1/messages`, for every endpoint that chats."""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.errors import InvalidRequest
from gateway.surfaces.anthropic_answer import MessageEvents, message_of
from gateway.surfaces.anthropic_request import to_chat
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
from gateway.surfaces.refusals import anthropic_error, anthropic_refusal
from gateway.surfaces.said import read, translated
from gateway.tickets import Ticket
from gateway.types import JSON


class AnthropicSurface:
    """Asks by chat, answers as a message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Below `/anthropic`, and below MLflow's server."""
        handlers = [
            ("POST", "/v1/messages", self._create),
            ("POST", "/v1/messages/count_tokens", self._count),
            ("GET", "/v1/models", self._models),
        ]
        return [
            route(method, prefix + path, handler, anthropic_refusal)
            for prefix in ("/anthropic", "/gateway/anthropic")
            for method, path, handler in handlers
        ]

    async def _create(self, call: Call) -> Reply:
        body = await call.body()
        name = model_of(body)
        self._gateway.endpoint(name)
        chat = to_chat(body)
        if body.get("stream"):
            return await while_connected(call.receive, self._begun(name, chat, call.ticket))
        return Whole(
            encode(await while_connected(call.receive, self._answered(name, chat, call.ticket)))
        )

    async def _answered(self, name: str, chat: dict[str, JSON], ticket: Ticket) -> dict[str, JSON]:
        answer = await self._gateway.chat(name, chat, ticket=ticket)
        return message_of(name, read(answer.raw))

    async def _begun(self, name: str, chat: dict[str, JSON], ticket: Ticket) -> EventStream:
        chat["stream_options"] = {"include_usage": True}
        frames = translated(
            self._gateway.stream_chat(name, chat, ticket=ticket), MessageEvents(name)
        )
        return await EventStream.begin(
            frames, failure=lambda error: named_frame(anthropic_error(error)), end=b""
        )

    async def _count(self, call: Call) -> Reply:
        name = model_of(await call.body())
        self._gateway.endpoint(name)
        # An estimate would be taken for a count.
        raise InvalidRequest("tokens cannot be counted before they are sent", status=404)

    async def _models(self, _: Call) -> Reply:
        catalog = self._gateway.catalog
        names = [*catalog.endpoints, *catalog.routes]
        models: JSON = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "1970-01-01T00:00:00Z",
            }
            for name in names
        ]
        page: JSON = {
            "data": models,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
            "has_more": False,
        }
        return Whole(encode(page))

"""Anthropic's interface, `/anthropic/v1/messages`, for every endpoint that chats.

Where everybody who may answer is Claude, requests go on as they came, betas and all, and events
come back as they are. The others are asked by chat.
"""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.errors import GatewayError, InvalidRequest
from gateway.providers import has_messages
from gateway.providers.messages import BETAS
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
from gateway.surfaces.said import passed_events, read, translated
from gateway.tickets import Ticket
from gateway.types import JSON


class AnthropicSurface:
    """Passes messages on to Claude; asks others by chat, and answers as a message."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Below `/anthropic`, and below MLflow's server."""
        handlers = [
            ("POST", "/v1/messages", self._create),
            ("POST", "/v1/messages/count_tokens", self._count),
            ("GET", "/v1/models", self._models),
            ("GET", "/v1/models/{name}", self._model),
        ]
        return [
            route(method, prefix + path, handler, anthropic_refusal)
            for prefix in ("/anthropic", "/gateway/anthropic")
            for method, path, handler in handlers
        ]

    async def _create(self, call: Call) -> Reply:
        body = await call.body()
        name = model_of(body)
        if self._is_claude(name):
            return await while_connected(call.receive, self._passed(call, name, body))
        chat = to_chat(body)
        if body.get("stream"):
            return await while_connected(call.receive, self._begun(name, chat, call.ticket))
        return Whole(
            encode(await while_connected(call.receive, self._answered(name, chat, call.ticket)))
        )

    def _is_claude(self, name: str) -> bool:
        return all(has_messages(endpoint) for endpoint in self._gateway.answerers(name))

    async def _passed(self, call: Call, name: str, body: dict[str, JSON]) -> Reply:
        _with_betas(call, body)
        if not body.pop("stream", None):
            return Whole((await self._gateway.message(name, body, ticket=call.ticket)).raw)
        frames = passed_events(self._gateway.stream_message(name, body, ticket=call.ticket))
        return await EventStream.begin(frames, failure=_broken, end=b"")

    async def _answered(self, name: str, chat: dict[str, JSON], ticket: Ticket) -> dict[str, JSON]:
        answer = await self._gateway.chat(name, chat, ticket=ticket)
        return message_of(name, read(answer.raw))

    async def _begun(self, name: str, chat: dict[str, JSON], ticket: Ticket) -> EventStream:
        chat["stream_options"] = {"include_usage": True}
        frames = translated(
            self._gateway.stream_chat(name, chat, ticket=ticket), MessageEvents(name)
        )
        return await EventStream.begin(frames, failure=_broken, end=b"")

    async def _count(self, call: Call) -> Reply:
        body = await call.body()
        name = model_of(body)
        if not self._is_claude(name):
            # An estimate would be taken for a count.
            message = f"tokens are counted for Anthropic's models only, and `{name}` may be another"
            raise InvalidRequest(message, status=404)
        _with_betas(call, body)
        counted = self._gateway.count_tokens(name, body, ticket=call.ticket)
        return Whole((await while_connected(call.receive, counted)).raw)

    async def _model(self, call: Call) -> Reply:
        name = call.parameter("name")
        self._gateway.endpoint(name)
        return Whole(encode(_described(name)))

    async def _models(self, _: Call) -> Reply:
        catalog = self._gateway.catalog
        names = [*catalog.endpoints, *catalog.routes]
        page: JSON = {
            "data": [_described(name) for name in names],
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
            "has_more": False,
        }
        return Whole(encode(page))


def _described(name: str) -> dict[str, JSON]:
    created_at = "1970-01-01T00:00:00Z"
    return {"type": "model", "id": name, "display_name": name, "created_at": created_at}


def _with_betas(call: Call, body: dict[str, JSON]) -> None:
    """Put the beta features that a header names where the body may name them, too."""
    if not (header := call.header(b"anthropic-beta")):
        return
    named = body.get(BETAS)
    body[BETAS] = [
        *(named if isinstance(named, list) else ()),
        *(beta for part in header.split(",") if (beta := part.strip())),
    ]


def _broken(error: GatewayError) -> bytes:
    return named_frame(anthropic_error(error))

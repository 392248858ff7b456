"""Whole requests of OpenAI's interface, answered outside of an HTTP exchange: for jobs.

The body goes to the model as it stands and comes back as the surface would answer it. Only the
endpoint itself answers, and anew: no substitute, and nothing out of a cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from gateway import abilities
from gateway.client import Gateway
from gateway.config import Wire
from gateway.errors import GatewayError, InvalidRequest, MalformedAnswer
from gateway.providers import has_responses
from gateway.surfaces.exchange import encode
from gateway.surfaces.openai import as_base64
from gateway.surfaces.refusals import openai_body, status_of
from gateway.surfaces.responses_answer import response_of
from gateway.surfaces.responses_request import to_chat
from gateway.surfaces.said import read
from gateway.tickets import Ticket
from gateway.types import JSON, Answer, Completion, Observer, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRequest:
    """A request to one endpoint."""

    endpoint: str
    path: str
    """`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` or `/v1/responses`."""
    body: Mapping[str, JSON]
    """As a client would send it; its `model` does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeAnswer:
    """What a client would have been sent, and what it means."""

    body: str
    """One line of JSON."""
    completion: Completion


class Relayer(Protocol):
    """Who answers whole requests; in production `Relay`."""

    async def ask(
        self, request: WholeRequest, *, ticket: Ticket, observer: Observer | None = None
    ) -> WholeAnswer:
        """Answer one."""
        ...


class Relay:
    """Puts whole requests to a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ask(
        self, request: WholeRequest, *, ticket: Ticket, observer: Observer | None = None
    ) -> WholeAnswer:
        """Answer one request.

        Raises:
            GatewayError: After the last attempt; `refusal` words it.
        """
        body = {name: value for name, value in request.body.items() if name != "model"}
        if body.pop("stream", None):
            raise InvalidRequest("`stream` has no place here: answers come whole", code="stream")
        answer, completion = await self._asked(request, body, ticket, observer)
        return WholeAnswer(body=_line(answer.raw), completion=completion)

    async def _asked(
        self,
        request: WholeRequest,
        body: dict[str, JSON],
        ticket: Ticket,
        observer: Observer | None,
    ) -> tuple[Answer, Completion]:
        one, name = self._gateway.one, request.endpoint
        match request.path:
            case "/v1/chat/completions":
                return await one(name, abilities.chat, body, ticket=ticket, observer=observer)
            case "/v1/completions":
                return await one(name, abilities.complete, body, ticket=ticket, observer=observer)
            case "/v1/embeddings":
                return await self._embedded(name, body, ticket, observer)
            case "/v1/responses":
                return await self._responded(name, body, ticket, observer)
            case path:
                raise InvalidRequest(f"{path} is not answered here", code="url")

    async def _embedded(
        self, name: str, body: dict[str, JSON], ticket: Ticket, observer: Observer | None
    ) -> tuple[Answer, Completion]:
        by_us = (
            body.get("encoding_format") == "base64"
            and self._gateway.endpoint(name).wire is not Wire.OPENAI
        )
        if by_us:
            del body["encoding_format"]
        answer, completion = await self._gateway.one(
            name, abilities.embed, body, ticket=ticket, observer=observer
        )
        usage = Usage(input_tokens=answer.usage.input_tokens, output_tokens=0)
        # Whoever embeds writes nothing: that is known, reported or not.
        said = replace(completion, usage=usage, finish_reason=None)
        return (replace(answer, raw=as_base64(answer.raw)) if by_us else answer), said

    async def _responded(
        self, name: str, body: dict[str, JSON], ticket: Ticket, observer: Observer | None
    ) -> tuple[Answer, Completion]:
        if has_responses(self._gateway.endpoint(name)):
            return await self._gateway.one(
                name, abilities.respond, body, ticket=ticket, observer=observer
            )
        answer, completion = await self._gateway.one(
            name, abilities.chat, to_chat(body), ticket=ticket, observer=observer
        )
        raw = encode(response_of(body, name, read(answer.raw)))
        return replace(answer, raw=raw), completion


def refusal(error: GatewayError) -> tuple[int, str]:
    """The status and the body that a client would have been sent."""
    return status_of(error), openai_body(error).decode()


def _line(raw: bytes) -> str:
    """The body as text without line breaks, otherwise as it came.

    Raises:
        MalformedAnswer: It is not UTF-8.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedAnswer(f"the answer is not UTF-8 (byte {error.start})") from error
    # A line break inside a text is escaped: those that are there stand between tokens.
    return text.replace("\r", " ").replace("\n", " ")

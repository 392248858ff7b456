"""The one way to ask a model: cache -> budget -> limit -> retry -> routing -> provider."""

import asyncio
import difflib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from random import Random
from types import TracebackType
from typing import Self, cast

from gateway import abilities
from gateway.accounts import Gates, LocalGates
from gateway.asking import Ask, Desk, Open, Question
from gateway.budgets import Budgets, LocalBudgets
from gateway.cache import Cache, LruCache
from gateway.config import Catalog, Endpoint
from gateway.course import Surroundings
from gateway.errors import InvalidRequest, UnknownEndpoint, WrongEndpointType
from gateway.health import HealthWatch
from gateway.http import DirectTransport, Transport
from gateway.limits import WAITING_ROOM
from gateway.lines import Line, Lines, lines_of
from gateway.outages import Outages
from gateway.pools import Pool, ReplicaStatus
from gateway.quota import CallQuota, LocalQuota
from gateway.routing import pick
from gateway.tickets import Ticket
from gateway.types import (
    JSON,
    Answer,
    ChatRequest,
    Completion,
    EndpointType,
    JSONObject,
    Message,
    Observer,
)
from gateway.usage import Recorder, UsageRecord

_KINDS: Mapping[Ask, EndpointType] = {
    abilities.chat: EndpointType.CHAT,
    abilities.complete: EndpointType.COMPLETIONS,
    abilities.embed: EndpointType.EMBEDDINGS,
    abilities.respond: EndpointType.CHAT,
}
LONGEST_NAME = 200
"""Characters of an endpoint's name, as the configuration allows."""


class Gateway:
    """Asks the models of one catalog.

    An async context manager of one event loop. `transport` stays the caller's to close;
    without one, the gateway makes and closes its own. `patience` is how many seconds a question
    may wait for its turn; None waits as long as it takes. `companions` are entered and left with
    the gateway: what `gates`, `budgets`, `quota` and `cache` are kept in.
    """

    def __init__(
        self,
        catalog: Catalog,
        transport: Transport | None = None,
        *,
        gates: Gates | None = None,
        patience: float | None = None,
        companions: Sequence[AbstractAsyncContextManager[object]] = (),
        budgets: Budgets | None = None,
        quota: CallQuota | None = None,
        cache: Cache | None = None,
        recorder: Recorder | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._given = transport
        self._transport: Transport | None = transport
        self._gates = gates if gates is not None else LocalGates(patience)
        self._companions = companions
        self._entered = AsyncExitStack()
        self.quota = quota or LocalQuota()
        """Counts the calls of MLflow's `limit:`; its surface asks it."""
        self._recorder = recorder
        self._random = random or Random()  # noqa: S311 - jitter and shares, not secrets
        self.outages = Outages()
        """Words failures on the way to a server, and logs where it is."""
        self._desk = Desk(
            Surroundings(
                budgets=budgets or LocalBudgets(),
                outages=self.outages,
                random=self._random,
                sleep=sleep,
                patience=patience,
            ),
            cache or LruCache(),
            recorder,
        )
        self._lines: Lines = {}
        self._health: HealthWatch | None = None

    async def __aenter__(self) -> Self:
        if self._transport is None:
            self._transport = DirectTransport()
        for companion in self._companions:
            await self._entered.enter_async_context(companion)
        self._health = HealthWatch(self._transport, self._pools)
        self.replace(self._catalog)
        if self._recorder is not None:
            self._recorder.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._health is not None:
            await self._health.stop()
        if self._recorder is not None:
            await self._recorder.stop()
        await self._entered.aclose()
        if self._given is None and self._transport is not None:
            await self._transport.close()
            self._transport = None

    @property
    def catalog(self) -> Catalog:
        """What can be asked now."""
        return self._catalog

    def replace(self, catalog: Catalog) -> None:
        """Ask by another catalog from the next call on.

        Calls in flight end as they began; endpoints that did not change keep their limits.
        """
        self.install(catalog, self.prepared(catalog))

    def prepared(self, catalog: Catalog) -> Lines:
        """What `install` needs: the slow part of `replace`, which may run in a thread."""
        return lines_of(catalog, self._lines, self._open_transport(), self._gates)

    def install(self, catalog: Catalog, lines: Lines) -> None:
        """Ask by `catalog` from the next call on; `lines` are those that were prepared of it."""
        self._catalog, self._lines = catalog, lines
        if self._health is not None:
            self._health.look_after()

    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        """Put messages to a chat or completions endpoint.

        A refusal that the model or its filter put into an answer is a `Completion` with outcome
        `refused`.

        Raises:
            GatewayError: After the last attempt; its `outcome` says what kind of failure.
        """
        _check_text(request.messages)
        line = self._resolve(request.endpoint)
        kind = line.endpoint.endpoint_type
        if kind is EndpointType.CHAT:
            messages = [{"role": m.role, "content": m.content} for m in request.messages]
            body: JSONObject = {**request.params, "messages": cast("JSON", messages)}
            ask: Ask = abilities.chat
        elif kind is EndpointType.COMPLETIONS:
            body = {**request.params, "prompt": _only_prompt(request.messages)}
            ask = abilities.complete
        else:
            raise WrongEndpointType(f"`{request.endpoint}` is {kind}: it cannot be asked")
        question = Question(
            asked=request.endpoint,
            line=line,
            lines=self._lines,
            body=body,
            ability=ask.__name__,
            ticket=Ticket(caller=request.caller, fresh=not request.cached),
            observer=observer,
            substitutes=request.substitutes,
        )
        answer, seconds = await self._desk.answered(question, ask)
        return _completion(answer, seconds, question.ticket.endpoint)

    async def chat(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """One chat completion, in OpenAI's dialect."""
        return await self._asked(endpoint, EndpointType.CHAT, abilities.chat, body, ticket)

    async def complete(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """One text completion, in OpenAI's dialect."""
        return await self._asked(
            endpoint, EndpointType.COMPLETIONS, abilities.complete, body, ticket
        )

    async def embed(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """Embeddings, in OpenAI's dialect."""
        return await self._asked(endpoint, EndpointType.EMBEDDINGS, abilities.embed, body, ticket)

    async def respond(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """One response of OpenAI's Responses API, from a vendor that has it."""
        return await self._asked(endpoint, EndpointType.CHAT, abilities.respond, body, ticket)

    async def message(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """One message of Anthropic's Messages API, from a vendor that has it."""
        return await self._asked(endpoint, EndpointType.CHAT, abilities.message, body, ticket)

    async def count_tokens(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> Answer:
        """What a message would be charged for as input, from the same."""
        return await self._asked(endpoint, EndpointType.CHAT, abilities.count_tokens, body, ticket)

    def stream_chat(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of one chat completion; each the JSON of one event. Retried until the first."""
        return self._streaming(endpoint, EndpointType.CHAT, abilities.stream_chat, body, ticket)

    def stream_complete(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of one text completion; as `stream_chat`."""
        return self._streaming(
            endpoint, EndpointType.COMPLETIONS, abilities.stream_complete, body, ticket
        )

    def stream_respond(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Events of one response; as `stream_chat`."""
        return self._streaming(endpoint, EndpointType.CHAT, abilities.stream_respond, body, ticket)

    def stream_message(
        self, endpoint: str, body: JSONObject, *, ticket: Ticket | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Events of one message; as `stream_chat`."""
        return self._streaming(endpoint, EndpointType.CHAT, abilities.stream_message, body, ticket)

    def answerers(self, name: str) -> list[Endpoint]:
        """Everybody who may answer to a name: destinations of a route, and their fallbacks.

        Raises:
            UnknownEndpoint: There is no such name.
        """
        catalog = self._catalog
        route = catalog.routes.get(name)
        asked = [arm for arm, _ in route.shares] if route else [self.endpoint(name).name]
        found = [catalog.endpoints[arm] for arm in asked]
        fallbacks = (fallback.endpoint for arm in found for fallback in arm.fallback)
        return found + [catalog.endpoints[other] for other in fallbacks]

    async def one(
        self,
        endpoint: str,
        ask: Ask,
        body: JSONObject,
        *,
        ticket: Ticket,
        observer: Observer | None = None,
    ) -> tuple[Answer, Completion]:
        """One whole answer as `ask` gets it, in both forms: for evaluations, as `self.ask` is.

        Args:
            endpoint: Who answers; no fallback does.
            ask: Of `gateway.abilities`, one that does not stream.
            body: In OpenAI's dialect.
            ticket: Whose call it is.
            observer: Who wants to know of every attempt.

        Raises:
            GatewayError: After the last attempt.
        """
        ticket.fresh = True
        question = self._question(endpoint, _KINDS[ask], ask.__name__, body, ticket)
        question = question._replace(observer=observer, substitutes=False)
        answer, seconds = await self._desk.answered(question, ask)
        return answer, _completion(answer, seconds, ticket.endpoint)

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint that a name stands for; of a traffic route, one of its destinations.

        Raises:
            UnknownEndpoint: There is none.
        """
        return self._line_of(name).endpoint

    def note(self, record: UsageRecord) -> None:
        """Keep a record of a call that was made past this."""
        if self._recorder is not None:
            self._recorder.note(record)

    @property
    def transport(self) -> Transport:
        """Carries what no provider makes: requests that are passed through."""
        return self._open_transport()

    def replicas(self, name: str) -> list[ReplicaStatus]:
        """How the servers behind an endpoint are."""
        line = self._lines.get(name)
        if line is None or not isinstance(line.pool, Pool):
            return []
        return [replica.status() for replica in line.pool.replicas]

    def closed(self, name: str) -> str | None:
        """Why an endpoint is not asked at present; None when it is."""
        line = self._lines.get(name)
        return line.gate.closed if line is not None else None

    def waiting_room(self, name: str) -> int:
        """How many calls of this process in an endpoint's line are enough to keep it busy."""
        line = self._lines.get(name)
        return line.gate.waiting_room if line is not None else WAITING_ROOM

    async def _asked(
        self, name: str, kind: EndpointType, ask: Ask, body: JSONObject, ticket: Ticket | None
    ) -> Answer:
        question = self._question(name, kind, ask.__name__, body, ticket)
        return (await self._desk.answered(question, ask))[0]

    def _streaming(
        self, name: str, kind: EndpointType, open_: Open, body: JSONObject, ticket: Ticket | None
    ) -> AsyncGenerator[bytes, None]:
        question = self._question(name, kind, open_.__name__, body, ticket)
        return self._desk.streamed(question, open_)

    def _question(
        self, name: str, kind: EndpointType, ability: str, body: JSONObject, ticket: Ticket | None
    ) -> Question:
        ticket = ticket or Ticket()
        line = self._resolve(name, kind, ticket.sticky or body.get("user"))
        return Question(name, line, self._lines, body, ability, ticket)

    def _pools(self) -> list[tuple[Endpoint, Pool]]:
        lines = self._lines.values()
        return [(line.endpoint, line.pool) for line in lines if isinstance(line.pool, Pool)]

    def _open_transport(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("the gateway is closed: use it as `async with Gateway(...)`")
        return self._transport

    def _line_of(self, name: str, sticky: object = None) -> Line:
        self._open_transport()
        if (line := self._lines.get(name)) is not None:
            return line
        if (route := self._catalog.routes.get(name)) is not None:
            return self._lines[pick(route, self._random, sticky)]
        if len(name) > LONGEST_NAME:  # Looking for its like would take minutes.
            raise UnknownEndpoint(name[:LONGEST_NAME] + "…")
        known = [*self._catalog.endpoints, *self._catalog.routes]
        raise UnknownEndpoint(name, next(iter(difflib.get_close_matches(name, known, n=1)), None))

    def _resolve(self, name: str, kind: EndpointType | None = None, sticky: object = None) -> Line:
        line = self._line_of(name, sticky)
        if kind is not None and line.endpoint.endpoint_type is not kind:
            found = line.endpoint.endpoint_type
            raise WrongEndpointType(f"the endpoint `{name}` is {found}, not {kind}")
        return line


def _check_text(messages: tuple[Message, ...]) -> None:
    """Refuse half characters, which no JSON can carry."""
    for index, message in enumerate(messages):
        try:
            message.content.encode("utf-8")
        except UnicodeEncodeError as error:
            place = f"message {index}, character {error.start}"
            raise InvalidRequest(f"{place}: a lone surrogate is not text") from error


def _only_prompt(messages: tuple[Message, ...]) -> str:
    if len(messages) != 1 or messages[0].role != "user":
        raise InvalidRequest("a completions endpoint takes exactly one message, of role `user`")
    return messages[0].content


def _completion(answer: Answer, seconds: float, endpoint: str | None) -> Completion:
    return Completion(
        text=answer.refusal or answer.text,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        latency=timedelta(seconds=seconds),
        model=answer.model,
        outcome=answer.outcome,
        endpoint=endpoint,
    )

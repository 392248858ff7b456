"""The one way to ask a model: limit -> retry -> routing -> provider."""

import asyncio
import difflib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Self, cast

from gateway.config import Catalog, Endpoint
from gateway.errors import (
    EndpointUnavailable,
    GatewayError,
    InvalidRequest,
    Outcome,
    RetryableError,
    UnknownEndpoint,
    WrongEndpointType,
)
from gateway.http import AiohttpTransport, Transport
from gateway.limits import Gate, LocalGate
from gateway.providers import Provider, bind
from gateway.retry import RetryPolicy
from gateway.routing import pick
from gateway.types import (
    JSON,
    Answer,
    AttemptReport,
    ChatRequest,
    Completion,
    EndpointType,
    JSONObject,
    Message,
    Observer,
    Usage,
)

Ask = Callable[[Provider], Awaitable[Answer]]
_NO_USAGE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An endpoint with everything that a call to it passes."""

    endpoint: Endpoint
    gate: Gate
    policy: RetryPolicy
    provider: Provider | EndpointUnavailable
    """Or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An answer, and how long the call that gave it took."""

    answer: Answer
    latency: timedelta


class Gateway:
    """Asks the models of one catalog.

    An async context manager of one event loop. `transport` stays the caller's to close;
    without one, the gateway makes and closes its own.
    """

    def __init__(
        self,
        catalog: Catalog,
        transport: Transport | None = None,
        *,
        gates: Callable[[Endpoint], Gate] = lambda endpoint: LocalGate(endpoint.limits),
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._given = transport
        self._transport: Transport | None = transport
        self._gates = gates
        self._random = random or Random()  # noqa: S311 - jitter and shares, not secrets
        self._sleep = sleep
        self._lines: Mapping[str, Line] = {}

    async def __aenter__(self) -> Self:
        if self._transport is None:
            self._transport = AiohttpTransport()
        self.replace(self._catalog)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        if self._transport is None:
            raise RuntimeError("the gateway is closed: use it as `async with Gateway(...)`")
        lines = {name: self._line(e, self._transport) for name, e in catalog.endpoints.items()}
        self._catalog, self._lines = catalog, lines

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
            body = _body(line, {"messages": cast("JSON", messages)} | dict(request.params))
            timed = await self._answered(line, lambda p: p.chat(body), observer)
        elif kind is EndpointType.COMPLETIONS:
            prompt = _only_prompt(request.messages)
            body = _body(line, {"prompt": prompt} | dict(request.params))
            timed = await self._answered(line, lambda p: p.complete(body), observer)
        else:
            raise WrongEndpointType(f"`{request.endpoint}` is {kind}: it cannot be asked")
        return _completion(timed)

    async def chat(self, endpoint: str, body: JSONObject) -> Answer:
        """One chat completion, in OpenAI's dialect."""
        line = self._resolve(endpoint, EndpointType.CHAT)
        full = _body(line, body)
        return (await self._answered(line, lambda p: p.chat(full))).answer

    async def complete(self, endpoint: str, body: JSONObject) -> Answer:
        """One text completion, in OpenAI's dialect."""
        line = self._resolve(endpoint, EndpointType.COMPLETIONS)
        full = _body(line, body)
        return (await self._answered(line, lambda p: p.complete(full))).answer

    async def embed(self, endpoint: str, body: JSONObject) -> Answer:
        """Embeddings, in OpenAI's dialect."""
        line = self._resolve(endpoint, EndpointType.EMBEDDINGS)
        full = _body(line, body)
        return (await self._answered(line, lambda p: p.embed(full))).answer

    def stream_chat(self, endpoint: str, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Chunks of one chat completion; each the JSON of one event. Retried until the first."""
        line = self._resolve(endpoint, EndpointType.CHAT)
        full = _body(line, body)
        return self._streamed(line, lambda p: p.stream_chat(full))

    def stream_complete(self, endpoint: str, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Chunks of one text completion; as `stream_chat`."""
        line = self._resolve(endpoint, EndpointType.COMPLETIONS)
        full = _body(line, body)
        return self._streamed(line, lambda p: p.stream_complete(full))

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint that a name stands for; of a traffic route, one of its destinations.

        Raises:
            UnknownEndpoint: There is none.
        """
        return self._line_of(name).endpoint

    def _line(self, endpoint: Endpoint, transport: Transport) -> Line:
        old = self._lines.get(endpoint.name)
        if old is not None and old.endpoint == endpoint:
            return old
        same_limits = old is not None and old.endpoint.limits == endpoint.limits
        provider: Provider | EndpointUnavailable
        try:
            provider = bind(endpoint, transport)
        except EndpointUnavailable as error:
            provider = error
        return Line(
            endpoint=endpoint,
            gate=old.gate if old is not None and same_limits else self._gates(endpoint),
            policy=RetryPolicy(settings=endpoint.retry),
            provider=provider,
        )

    def _line_of(self, name: str) -> Line:
        if self._transport is None:
            raise RuntimeError("the gateway is closed: use it as `async with Gateway(...)`")
        if (line := self._lines.get(name)) is not None:
            return line
        if (route := self._catalog.routes.get(name)) is not None:
            return self._lines[pick(route, self._random)]
        known = [*self._catalog.endpoints, *self._catalog.routes]
        raise UnknownEndpoint(name, next(iter(difflib.get_close_matches(name, known, n=1)), None))

    def _resolve(self, name: str, kind: EndpointType | None = None) -> Line:
        line = self._line_of(name)
        if kind is not None and line.endpoint.endpoint_type is not kind:
            found = line.endpoint.endpoint_type
            raise WrongEndpointType(f"the endpoint `{name}` is {found}, not {kind}")
        return line

    async def _answered(self, line: Line, ask: Ask, observer: Observer | None = None) -> Timed:
        """Ask until there is an answer or no more attempt is worth it."""
        provider = _usable(line)
        begun = time.monotonic()
        number = 0
        while True:
            number += 1
            try:
                async with line.gate.admitted():
                    return await _attempt(provider, ask, number, observer)
            except RetryableError as error:
                await self._rest(line, error, number, begun)

    async def _streamed(
        self, line: Line, open_stream: Callable[[Provider], AsyncGenerator[bytes, None]]
    ) -> AsyncGenerator[bytes, None]:
        """As `_answered`; after the first chunk a failure is final."""
        provider = _usable(line)
        begun = time.monotonic()
        number, spoken = 0, False
        while True:
            number += 1
            try:
                async with line.gate.admitted():
                    async with aclosing(open_stream(provider)) as chunks:
                        async for chunk in chunks:
                            spoken = True
                            yield chunk
                    return
            except RetryableError as error:
                if spoken:
                    raise
                await self._rest(line, error, number, begun)

    async def _rest(self, line: Line, error: RetryableError, number: int, begun: float) -> None:
        """Wait before the next attempt, or raise `error` when there is to be none."""
        if error.retry_after is not None:
            await line.gate.block(error.retry_after)
        elapsed = timedelta(seconds=time.monotonic() - begun)
        pause = line.policy.pause(error, attempt=number, elapsed=elapsed, random=self._random)
        if pause is None:
            raise error
        await self._sleep(pause.total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watch:
    """Times one call, and tells the observer how it ended."""

    number: int
    observer: Observer | None
    started_at: datetime
    begun: float

    @classmethod
    def start(cls, number: int, observer: Observer | None) -> "_Watch":
        if observer is not None:
            observer.sending(number)
        now, begun = datetime.now(UTC), time.perf_counter()
        return cls(number=number, observer=observer, started_at=now, begun=begun)

    def end(
        self, outcome: Outcome, *, error: BaseException | None = None, usage: Usage = _NO_USAGE
    ) -> timedelta:
        latency = timedelta(seconds=time.perf_counter() - self.begun)
        if self.observer is not None:
            report = AttemptReport(
                number=self.number,
                started_at=self.started_at,
                latency=latency,
                outcome=outcome,
                status=error.status if isinstance(error, GatewayError) else None,
                error=str(error) or type(error).__name__ if error is not None else None,
                usage=usage,
            )
            self.observer.ended(report)
        return latency


async def _attempt(provider: Provider, ask: Ask, number: int, observer: Observer | None) -> Timed:
    """One call, reported to the observer however it ends."""
    watch = _Watch.start(number, observer)
    try:
        answer = await ask(provider)
    except GatewayError as error:
        watch.end(error.outcome, error=error)
        raise
    except BaseException as error:  # Cancelled, or a fault of ours: the call was made all the same.
        watch.end(Outcome.PROVIDER_ERROR, error=error)
        raise
    return Timed(answer=answer, latency=watch.end(answer.outcome, usage=answer.usage))


def _usable(line: Line) -> Provider:
    if isinstance(line.provider, EndpointUnavailable):
        unavailable = line.provider
        raise EndpointUnavailable(unavailable.message)
    return line.provider


def _body(line: Line, body: JSONObject) -> dict[str, JSON]:
    """The request with the endpoint's default parameters; null means "not given"."""
    given = {key: value for key, value in body.items() if value is not None}
    return {**line.endpoint.params, **given}


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


def _completion(timed: Timed) -> Completion:
    answer = timed.answer
    return Completion(
        text=answer.refusal or answer.text,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        latency=timed.latency,
        model=answer.model,
        outcome=answer.outcome,
    )

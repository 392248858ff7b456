"""From a question to its answer: cache, the caller's own limits, the course, the record of it."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from inspect import isawaitable
from typing import NamedTuple

from gateway.cache import Cache, keepable, key_of, may_keep
from gateway.config import Cache as CacheSettings
from gateway.config import Endpoint
from gateway.course import Attempt, Course, Surroundings, refusal, with_defaults
from gateway.errors import GatewayError, Outcome
from gateway.limits import Gate, estimated_tokens
from gateway.lines import Line, Lines
from gateway.providers import Provider
from gateway.streams import first_of, usage_in
from gateway.tickets import Ticket
from gateway.types import Answer, JSONObject, Observer, Usage
from gateway.usage import Recorder, UsageRecord

Ask = Callable[[Provider, JSONObject], Awaitable[Answer]]
"""Which of a provider's abilities is wanted."""
Open = Callable[[Provider, JSONObject], AsyncGenerator[bytes, None]]

_NO_USAGE = Usage()


class Question(NamedTuple):
    """What is asked of whom, on whose behalf. A tuple, for there is one per call."""

    asked: str
    """The name that was asked for: an endpoint or a route."""
    line: Line
    lines: Lines
    """All of one catalog: fallbacks are looked up where the question began."""
    body: JSONObject
    ability: str
    """Which of a provider's abilities; equal bodies mean different things to different ones."""
    ticket: Ticket
    observer: Observer | None = None
    substitutes: bool = True


class Desk:
    """Puts questions, and notes what came of them."""

    def __init__(self, world: Surroundings, cache: Cache, recorder: Recorder | None) -> None:
        self._world = world
        self._cache = cache
        self._recorder = recorder

    async def answered(self, question: Question, ask: Ask) -> tuple[Answer, float]:
        """The answer, and the seconds that the call took which gave it.

        Raises:
            GatewayError: After the last attempt.
        """
        error: BaseException | None = None
        answer: Answer | None = None
        try:
            answer, seconds = await self._whole(question, ask)
        except BaseException as failed:
            error = failed
            raise
        finally:
            question.ticket.first_byte()
            usage = answer.usage if answer is not None else _NO_USAGE
            self._note(question, error, usage, streamed=False)
        return answer, seconds

    async def streamed(self, question: Question, open_: Open) -> AsyncGenerator[bytes, None]:
        """The chunks of the answer; once one has come, a failure is final."""
        error: BaseException | None = None
        usage = _NO_USAGE
        gate: Gate | None = None
        course = self._course(question)
        try:
            gate = await _own_gate(question) if question.line.per_caller else None
            attempt, chunks, chunk = await _opened(course, open_)
            try:
                async with aclosing(chunks):
                    usage = usage_in(chunk, usage)
                    yield chunk
                    async for chunk in chunks:
                        usage = usage_in(chunk, usage)
                        yield chunk
            except BaseException as failed:
                attempt.failed(failed)
                raise
            attempt.answered(Outcome.OK, usage)
            course.arrived(usage)
        except BaseException as failed:
            error = failed
            course.left()
            raise
        finally:
            if gate is not None:
                gate.leave(course.tokens, _total(usage), None)
            self._note(question, error, usage, streamed=True)

    async def _whole(self, question: Question, ask: Ask) -> tuple[Answer, float]:
        if question.line.endpoint.cache is None:
            return await self._asked(question, ask)
        return await self._asked_once(question, question.line.endpoint.cache, ask)

    async def _asked_once(
        self, question: Question, settings: CacheSettings, ask: Ask
    ) -> tuple[Answer, float]:
        """The answer of another time, else one of now, which is kept."""
        endpoint, ticket = question.line.endpoint, question.ticket
        body = with_defaults(question.line, question.body)
        if ticket.fresh or not may_keep(settings, endpoint.endpoint_type, body):
            ticket.cache = "bypass"
            return await self._asked(question, ask)
        key = key_of(endpoint, question.ability, body)
        if (kept := await self._cache.get(key)) is not None:
            ticket.cache, ticket.endpoint = "hit", endpoint.name
            return kept, 0.0
        ticket.cache = "miss"
        answer, seconds = await self._asked(question, ask)
        if ticket.endpoint == endpoint.name and keepable(answer):
            await self._cache.put(key, answer, settings.ttl)
        return answer, seconds

    async def _asked(self, question: Question, ask: Ask) -> tuple[Answer, float]:
        gate = await _own_gate(question) if question.line.per_caller else None
        course = self._course(question)
        spent: int | None = None
        try:
            answer, seconds = await _answer(course, ask)
            spent = _total(answer.usage) if gate is not None else None
        except BaseException as failed:
            if not isinstance(failed, GatewayError):
                course.left()
            raise
        finally:
            if gate is not None:
                gate.leave(course.tokens, spent, None)
        return answer, seconds

    def _course(self, question: Question) -> Course:
        return Course(
            self._world,
            question.lines,
            question.line,
            question.body,
            question.ticket,
            observer=question.observer,
            substitutes=question.substitutes,
        )

    def _note(
        self, question: Question, error: BaseException | None, usage: Usage, *, streamed: bool
    ) -> None:
        if self._recorder is None:
            return
        ticket = question.ticket
        line = question.lines.get(ticket.endpoint or "", question.line)
        record = record_of(
            ticket, line.endpoint, asked=question.asked, error=error, usage=usage, streamed=streamed
        )
        self._recorder.note(record)


def record_of(
    ticket: Ticket,
    answerer: Endpoint,
    *,
    asked: str,
    error: BaseException | None,
    usage: Usage,
    streamed: bool,
) -> UsageRecord:
    """What is to be kept of a call that has ended just now."""
    seconds = ticket.seconds
    return UsageRecord(
        at=time.time() - seconds,
        request_id=ticket.request_id,
        caller=ticket.caller,
        asked=asked,
        endpoint=ticket.endpoint,
        outcome=_outcome(error),
        status=error.status if isinstance(error, GatewayError) else None,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        attempts=ticket.attempts,
        seconds=seconds,
        provider_seconds=ticket.provider_seconds,
        first_byte_seconds=ticket.first_byte_seconds,
        streamed=streamed,
        cached=ticket.cached,
        price=answerer.price,
        price_source=answerer.price_source,
    )


async def _answer(course: Course, ask: Ask) -> tuple[Answer, float]:
    """Go the course until there is an answer."""
    while True:
        try:
            attempt = await course.attempt()
            try:
                answer = await ask(attempt.provider, course.body)
            except BaseException as error:
                attempt.failed(error)
                raise
            outcome = answer.outcome
            attempt.answered(outcome, answer.usage)
            course.arrived(answer.usage)
            if outcome is Outcome.REFUSED and course.passes_on("refused"):
                raise refusal(answer)
        except GatewayError as error:
            await course.failed(error)
        else:
            return answer, attempt.latency


async def _opened(
    course: Course, open_: Open
) -> tuple[Attempt, AsyncGenerator[bytes, None], bytes]:
    """Go the course until a first chunk is there."""
    while True:
        try:
            attempt = await course.attempt()
            chunks = open_(attempt.provider, course.body)
            try:
                first = await first_of(chunks, course.line.endpoint.timeouts)
            except BaseException as error:
                await chunks.aclose()
                attempt.failed(error)
                raise
        except GatewayError as error:
            await course.failed(error)
        else:
            course.ticket.endpoint = course.line.endpoint.name
            course.ticket.first_byte(attempt.begun)
            return attempt, chunks, first


async def _own_gate(question: Question) -> Gate | None:
    """The caller's own limits at this endpoint, entered; None when there are none.

    Raises:
        NoTurn: The caller has had its share.
    """
    line = question.line
    if line.per_caller is None:
        return None
    tokens = estimated_tokens(with_defaults(line, question.body)) if line.counts else 0
    entering = line.per_caller.enter(question.ticket.caller or "", tokens)
    return await entering if isawaitable(entering) else entering


def _outcome(error: BaseException | None) -> Outcome | None:
    if error is None:
        return Outcome.OK
    return error.outcome if isinstance(error, GatewayError) else None


def _total(usage: Usage) -> int | None:
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    return (usage.input_tokens or 0) + (usage.output_tokens or 0)

"""The way of one question: the single retry layer, over gates, budgets, servers and substitutes.

A course goes along the asked endpoint and its fallbacks. Each attempt passes the gate, takes a
server, and is reported; what failed is tried again where that may help, passed on where the
operator said so, and raised in the end.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from inspect import isawaitable
from random import Random

from gateway.budgets import Budgets
from gateway.config import FailureClass
from gateway.errors import (
    AccessDenied,
    CircuitOpen,
    ContentRefused,
    EndpointUnavailable,
    GatewayError,
    MalformedAnswer,
    NoTurn,
    Outcome,
    QuotaExhausted,
    RateLimited,
    RetryableError,
    TimedOut,
    Unavailable,
)
from gateway.limits import estimated_tokens
from gateway.lines import Line, Lines
from gateway.outages import Outages
from gateway.pools import Pool, Replica
from gateway.providers import Provider
from gateway.tickets import Ticket
from gateway.types import JSON, Answer, AttemptReport, JSONObject, Observer, Usage

_NO_USAGE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all courses of a gateway share."""

    budgets: Budgets
    random: Random
    sleep: Callable[[float], Awaitable[None]]
    outages: Outages
    patience: float | None = None
    """Seconds that a question may wait for a provider that asks for patience; None: any time."""


class Attempt:
    """One call to a provider: its place at the gate, its server, its clock."""

    __slots__ = ("_course", "_line", "_pool", "_replica", "_tokens", "begun", "latency", "number")

    def __init__(self, course: "Course", line: Line, pool: Pool, replica: Replica) -> None:
        self._course = course
        self._line = line
        self._pool = pool
        self._replica = replica
        self._tokens = course.tokens
        self.number = course.number
        self.latency = 0.0
        self.begun = time.perf_counter()

    @property
    def provider(self) -> Provider:
        """Who is asked."""
        return self._replica.provider

    def answered(self, outcome: Outcome, usage: Usage) -> None:
        """There is an answer."""
        self._end(None, outcome, usage)

    def failed(self, error: BaseException) -> None:
        """There is none; a call given up was made all the same."""
        self._course.tell(error, self._replica.url)
        outcome = error.outcome if isinstance(error, GatewayError) else Outcome.PROVIDER_ERROR
        self._course.tried.append(self._replica)
        self._end(error, outcome, _NO_USAGE)

    def _end(self, error: BaseException | None, outcome: Outcome, usage: Usage) -> None:
        self.latency = time.perf_counter() - self.begun
        self._course.ticket.provider_seconds += self.latency
        self._pool.give_back(self._replica, error)
        counted = error is None or isinstance(error, GatewayError)
        if isinstance(error, RateLimited) and self._was_too_fast(error):
            counted = False
        spent = _total(usage) if error is None else None
        self._line.gate.leave(self._tokens, spent, outcome if counted else None)
        if (observer := self._course.observer) is not None:
            observer.ended(self._report(error, outcome, usage))

    def _was_too_fast(self, error: RateLimited) -> bool:
        """Whether a refusal is about the pace of an only server, and the gate sees to that."""
        if self._pool.several or error.status != HTTPStatus.TOO_MANY_REQUESTS:
            return False
        return self._line.gate.refused(error.retry_after, self.latency)

    def _report(self, error: BaseException | None, outcome: Outcome, usage: Usage) -> AttemptReport:
        latency = timedelta(seconds=self.latency)
        return AttemptReport(
            number=self.number,
            endpoint=self._line.endpoint.name,
            started_at=datetime.now(UTC) - latency,
            latency=latency,
            outcome=outcome,
            status=error.status if isinstance(error, GatewayError) else None,
            error=str(error) or type(error).__name__ if error is not None else None,
            usage=usage,
        )


class Course:
    """One question on its way; mutable, and used once."""

    __slots__ = (
        "_asked", "_begun", "_body", "_fallbacks", "_here", "_lines", "_reserved", "_waited",
        "_world",
        "body", "line", "number", "observer", "ticket", "tokens", "tried",
    )  # fmt: skip

    def __init__(
        self,
        world: Surroundings,
        lines: Lines,
        line: Line,
        body: JSONObject,
        ticket: Ticket,
        *,
        observer: Observer | None = None,
        substitutes: bool = True,
    ) -> None:
        self._world = world
        self._lines = lines
        self._asked = line
        self._body = body
        self._fallbacks = list(line.endpoint.fallback) if substitutes else []
        self._begun = 0.0
        self._waited = 0.0
        """Seconds spent in patience with busy providers."""
        self._reserved: Decimal | None = None
        self.observer = observer
        self.ticket = ticket
        self.number = 0
        """Attempts begun, over all endpoints."""
        self._here = 0
        """Attempts begun at this endpoint."""
        self.tried: list[Replica] = []
        """Servers of this endpoint that failed at this question, in order."""
        self._arrive(line)

    def _arrive(self, line: Line) -> None:
        self.line = line
        self.body = with_defaults(line, self._body)
        self.tokens = estimated_tokens(self.body) if line.counts or line.gate.counts else 0
        self._here = 0
        if self.tried:
            self.tried = []

    async def attempt(self) -> Attempt:
        """Pass the gate and take a server: the call may go.

        Raises:
            GatewayError: It may not; `failed` says whether to try again.
        """
        line = self.line
        pool = line.pool
        if not isinstance(pool, Pool):
            raise EndpointUnavailable(pool.message)
        if self._reserved is None and line.endpoint.budget is not None:
            caller = self.ticket.caller
            reserving = self._world.budgets.reserve(line.endpoint, caller, self.tokens)
            self._reserved = await reserving if isawaitable(reserving) else reserving
        self._here += 1
        if (waiting := line.gate.enter(self.tokens)) is not None:
            await waiting
        try:
            replica = pool.take(self.tried) or await pool.taken(self.tried)
        except BaseException:
            line.gate.leave(self.tokens, None, None)
            raise
        return self._sent(line, pool, replica)

    def _sent(self, line: Line, pool: Pool, replica: Replica) -> Attempt:
        if not self._begun:
            self._begun = time.monotonic()
        self.number += 1
        self.ticket.attempts = self.number
        if self.observer is not None:
            try:
                self.observer.sending(self.number)
            except BaseException as forbidden:
                pool.give_back(replica, forbidden)
                line.gate.leave(self.tokens, None, None)
                raise
        return Attempt(self, line, pool, replica)

    def tell(self, error: BaseException, url: str | None) -> None:
        """Say which endpoint could not be reached; where it is, to the log alone."""
        self._world.outages.tell(error, self.line.endpoint.name, url)

    def arrived(self, usage: Usage) -> None:
        """An answer is there: settle what it cost, and say who gave it."""
        self.ticket.endpoint = self.line.endpoint.name
        self._settle(usage)

    def left(self) -> None:
        """Nobody waits for an answer any more; what it cost is not known."""
        self._settle(_NO_USAGE)

    async def failed(self, error: GatewayError) -> None:
        """Get ready for the next attempt: at once, after a pause, or elsewhere.

        Raises:
            GatewayError: `error`, when there is to be no other attempt.
        """
        pause = await self._pause(error)
        if pause is not None:
            if pause > 0:
                await self._world.sleep(pause)
            return
        self._settle(None)
        following = self._following(error)
        if following is None:
            self.ticket.endpoint = self.line.endpoint.name
            raise error
        self._arrive(following)

    def passes_on(self, kind: FailureClass) -> bool:
        """Whether somebody else is to be asked after a failure of this kind."""
        return any(kind in fallback.when for fallback in self._fallbacks)

    async def _pause(self, error: GatewayError) -> float | None:
        """Seconds until the next attempt at this endpoint; None: there is none."""
        pool, line = self.line.pool, self.line
        if isinstance(error, QuotaExhausted) and error.status is not None:
            line.gate.shut(error)
        if not isinstance(error, RetryableError) or isinstance(error, NoTurn):
            return None
        several = isinstance(pool, Pool) and pool.several
        if error.retry_after is not None and not several and not isinstance(error, CircuitOpen):
            await line.gate.block(error.retry_after)
        if isinstance(error, CircuitOpen) and self.passes_on("unavailable"):
            return None
        if several and isinstance(pool, Pool) and pool.has_other(self.tried):
            return 0.0 if self._here < line.policy.settings.max_attempts else None
        elapsed = time.monotonic() - self._begun if self._begun else 0.0
        pause = line.policy.pause(
            error,
            attempt=self._here,
            elapsed=timedelta(seconds=elapsed),
            random=self._world.random,
        )
        return self._patient(error, pause.total_seconds()) if pause is not None else None

    def _patient(self, error: RetryableError, pause: float) -> float | None:
        """The pause, if whoever waits may be kept waiting for a busy provider so long."""
        patience = self._world.patience
        if patience is None or not isinstance(error, RateLimited):
            return pause
        self._waited += pause
        return pause if self._waited <= patience else None

    def _following(self, error: GatewayError) -> Line | None:
        """The next substitute for this kind of failure; those before it are passed over."""
        kind = class_of(error)
        while self._fallbacks:
            fallback = self._fallbacks.pop(0)
            line = self._lines.get(fallback.endpoint)
            if line is not None and kind in fallback.when:
                return line
        return None

    def _settle(self, usage: Usage | None) -> None:
        if self._reserved is not None:
            line, caller = self.line, self.ticket.caller
            self._world.budgets.settle(line.endpoint, caller, self._reserved, usage)
            self._reserved = None


def class_of(error: GatewayError) -> FailureClass:  # noqa: PLR0911 - a table
    """The word for a failure in a `fallback:`."""
    match error:
        case RateLimited():
            return "rate_limited"
        case TimedOut():
            return "timeout"
        case MalformedAnswer():
            return "malformed"
        case Unavailable() | EndpointUnavailable():
            return "unavailable"
        case QuotaExhausted():
            return "quota"
        case AccessDenied():
            return "access"
        case ContentRefused():
            return "refused"
        case _:
            return "invalid_request"


def refusal(answer: Answer) -> ContentRefused:
    """A refusal inside an answer, as the failure that a fallback may take."""
    return ContentRefused(answer.refusal or "the answer was stopped by a content filter")


def with_defaults(line: Line, body: JSONObject) -> dict[str, JSON]:
    """The request with the endpoint's default parameters; null means "not given"."""
    given: dict[str, JSON] = {key: value for key, value in body.items() if value is not None}
    return {**line.endpoint.params, **given} if line.endpoint.params else given


def _total(usage: Usage) -> int | None:
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    return (usage.input_tokens or 0) + (usage.output_tokens or 0)

"""Keeps account of the calls made for one cell, and turns its end into a record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway.errors import GatewayError
from gateway.errors import Outcome as GatewayOutcome
from gateway.types import AttemptReport, Completion, Usage
from hikaku.failpoints import Point, reach
from hikaku.jobs import (
    Attempt,
    AttemptOutcome,
    CellAddress,
    CellCalls,
    CellRecord,
    CellScore,
    Outcome,
    failure,
    is_text,
    kept,
)
from hikaku.specs import EndpointIdentity
from workers.recorder import Recorder

_MILLION = Decimal(1_000_000)
_MOST_TOKENS = 2**31 - 1


class Ledger:
    """The observer of one cell: writes each call down before it is made."""

    def __init__(
        self,
        endpoint: EndpointIdentity,
        address: CellAddress,
        recorder: Recorder,
        may_call: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._address = address
        self._recorder = recorder
        self._may_call = may_call
        self._attempts: list[Attempt] = []

    def sending(self, number: int) -> None:
        """Note a call that is about to be made.

        Raises:
            StopShard: It must not be made.
        """
        self._may_call()
        self._note(
            Attempt(number=number, outcome=AttemptOutcome.UNKNOWN, started_at=datetime.now(UTC))
        )
        reach(Point.BEFORE_CALL)

    def ended(self, attempt: AttemptReport) -> None:
        """Note how a call ended; an answer is noted with the record that follows at once."""
        ended = Attempt(
            number=attempt.number,
            outcome=AttemptOutcome(attempt.outcome),
            started_at=attempt.started_at,
            latency_ms=_milliseconds(attempt.latency),
            status=attempt.status,
            error=kept(attempt.error),
            input_tokens=_counted(attempt.usage.input_tokens),
            output_tokens=_counted(attempt.usage.output_tokens),
            cost_usd=price(self._endpoint, attempt.usage),
        )
        self._attempts.append(ended)
        if ended.outcome is not AttemptOutcome.OK:
            self._note(ended)

    def answered(self, completion: Completion) -> CellRecord:
        """Make the record of a cell that was answered."""
        return CellRecord(
            address=self._address,
            outcome=_outcome(completion),
            recorded_at=datetime.now(UTC),
            completion=completion.text,
            finish_reason=kept(completion.finish_reason),
            input_tokens=_counted(completion.usage.input_tokens),
            output_tokens=_counted(completion.usage.output_tokens),
            latency_ms=_milliseconds(completion.latency),
            cost_usd=price(self._endpoint, completion.usage),
            attempts=tuple(self._attempts),
        )

    def failed(self, error: GatewayError) -> CellRecord:
        """Make the record of a cell that was not answered, after all retries."""
        said = f"{type(error).__name__}: {error.message}"
        attempts = tuple(self._attempts)
        return failure(self._address, Outcome(error.outcome), said, attempts=attempts)

    async def abandon(self) -> None:
        """Hand over the calls of a cell that is left to another worker."""
        await self._recorder.abandon(
            CellCalls(address=self._address, attempts=tuple(self._attempts))
        )

    def _note(self, attempt: Attempt) -> None:
        self._recorder.called(CellCalls(address=self._address, attempts=(attempt,)))


def keepable(record: CellRecord) -> CellRecord:
    """Turn a completion that Postgres cannot keep into a failure that says so.

    U+0000 and lone surrogates are the only text that is refused; both are a provider's mistake.
    """
    text = record.completion
    if text is None or is_text(text):
        return record
    return replace(
        record,
        outcome=Outcome.MALFORMED,
        completion=None,
        error="the completion holds U+0000 or half a surrogate pair, which is not text",
    )


def price(endpoint: EndpointIdentity, usage: Usage) -> Decimal | None:
    """Price a call; None when a price or the usage is not known."""
    prices = (endpoint.input_usd_per_million_tokens, endpoint.output_usd_per_million_tokens)
    tokens = (_counted(usage.input_tokens), _counted(usage.output_tokens))
    if None in prices or None in tokens:
        return None
    return sum(
        (p * t / _MILLION for p, t in zip(prices, tokens, strict=True) if p and t), Decimal(0)
    )


def storable(score: CellScore) -> CellScore:
    """Make what a scorer says of a text fit to be kept."""
    return replace(score, unscored=kept(score.unscored), detail=kept(score.detail))


def _counted(tokens: int | None) -> int | None:
    """Take a count of tokens; a provider's nonsense is "not reported"."""
    return tokens if tokens is not None and 0 <= tokens <= _MOST_TOKENS else None


def _outcome(completion: Completion) -> Outcome:
    if completion.outcome is GatewayOutcome.REFUSED:
        return Outcome.REFUSED
    return Outcome.TRUNCATED if completion.finish_reason == "length" else Outcome.OK


def _milliseconds(duration: timedelta) -> float:
    return duration.total_seconds() * 1000

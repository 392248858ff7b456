"""Keeps account of the calls made for one cell, and turns its end into a record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway.errors import GatewayError
from gateway.errors import Outcome as GatewayOutcome
from gateway.types import AttemptReport, Completion, Usage
from hikaku.jobs import Attempt, AttemptOutcome, CellAddress, CellCalls, CellRecord, Outcome
from hikaku.specs import EndpointIdentity
from workers.recorder import Recorder

_MILLION = Decimal(1_000_000)
_LONGEST_ERROR = 2_000
"""Characters of a provider's error that are kept."""


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

    def ended(self, attempt: AttemptReport) -> None:
        """Note how a call ended; an answer is noted with the record that follows at once."""
        ended = Attempt(
            number=attempt.number,
            outcome=AttemptOutcome(attempt.outcome),
            started_at=attempt.started_at,
            latency_ms=_milliseconds(attempt.latency),
            status=attempt.status,
            error=_kept(attempt.error),
            input_tokens=attempt.usage.input_tokens,
            output_tokens=attempt.usage.output_tokens,
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
            finish_reason=completion.finish_reason,
            input_tokens=completion.usage.input_tokens,
            output_tokens=completion.usage.output_tokens,
            latency_ms=_milliseconds(completion.latency),
            cost_usd=price(self._endpoint, completion.usage),
            attempts=tuple(self._attempts),
        )

    def failed(self, error: GatewayError) -> CellRecord:
        """Make the record of a cell that was not answered, after all retries."""
        return failure(
            self._address,
            Outcome(error.outcome),
            f"{type(error).__name__}: {error.message}",
            attempts=tuple(self._attempts),
        )

    async def abandon(self) -> None:
        """Hand over the calls of a cell that is left to another worker."""
        await self._recorder.abandon(
            CellCalls(address=self._address, attempts=tuple(self._attempts))
        )

    def _note(self, attempt: Attempt) -> None:
        self._recorder.called(CellCalls(address=self._address, attempts=(attempt,)))


def failure(
    address: CellAddress, outcome: Outcome, error: str, *, attempts: tuple[Attempt, ...] = ()
) -> CellRecord:
    """Make the record of a cell without a completion."""
    return CellRecord(
        address=address,
        outcome=outcome,
        recorded_at=datetime.now(UTC),
        error=_kept(error),
        attempts=attempts,
    )


def keepable(record: CellRecord) -> CellRecord:
    """Turn a completion that Postgres cannot keep into a failure that says so.

    U+0000 and lone surrogates are the only text that is refused; both are a provider's mistake.
    """
    text = record.completion
    if text is None or _is_keepable(text):
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
    tokens = (usage.input_tokens, usage.output_tokens)
    if None in prices or None in tokens:
        return None
    return sum(
        (p * t / _MILLION for p, t in zip(prices, tokens, strict=True) if p and t), Decimal(0)
    )


def _outcome(completion: Completion) -> Outcome:
    if completion.outcome is GatewayOutcome.REFUSED:
        return Outcome.REFUSED
    return Outcome.TRUNCATED if completion.finish_reason == "length" else Outcome.OK


def _milliseconds(duration: timedelta) -> float:
    return duration.total_seconds() * 1000


def _is_keepable(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kept(error: str | None) -> str | None:
    if error is None or (_is_keepable(error) and len(error) <= _LONGEST_ERROR):
        return error
    whole = error.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
    return whole[:_LONGEST_ERROR]

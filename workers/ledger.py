"""Keeps account of the calls made for one cell, and turns its end into a record."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace
from typing_extensions import override

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
    Outcome,
    failure,
    is_text,
    kept,
)
from hikaku.pricing import MOST_TOKENS, Tariff
from workers.errors import Unfunded
from workers.purse import Purse
from workers.recorder import Recorder


class Ledger:
    """The observer of one cell: writes each call down before it is made.

    A claim of the shard is what reserves a call; the line before it says `dispatched`, and lives
    on this machine alone; the record settles it, or its adoption says that its end is `unknown`.
    """

    _reserved: Decimal | None = None
    """What is set aside for each call; None where no budget holds."""

    def __init__(
        self,
        tariff: Tariff | None,
        address: CellAddress,
        recorder: Recorder,
        may_call: Callable[[], None],
    ) -> None:
        self._tariff = tariff
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
        dispatched = Attempt(
            number=number,
            outcome=AttemptOutcome.UNKNOWN,
            started_at=datetime.now(UTC),
            reserved_usd=self._reserved,
        )
        self._recorder.called(CellCalls(address=self._address, attempts=(dispatched,)))
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
            cost_usd=self._cost(attempt.usage),
            reserved_usd=self._reserved,
        )
        self._attempts.append(ended)
        if ended.outcome is not AttemptOutcome.OK:
            self._recorder.call_ended(CellCalls(address=self._address, attempts=(ended,)))

    def answered(self, completion: Completion, request_hash: bytes | None = None) -> CellRecord:
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
            cost_usd=self._cost(completion.usage),
            request_hash=request_hash,
            attempts=tuple(self._attempts),
        )

    def failed(self, error: GatewayError) -> CellRecord:
        """Make the record of a cell that was not answered, after all retries."""
        said = f"{type(error).__name__}: {error.message}"
        attempts = tuple(self._attempts)
        return failure(self._address, Outcome(error.outcome), said, attempts=attempts)

    async def abandon(self) -> None:
        """Hand over the calls of a cell that is left to another worker."""
        if not self._attempts:
            return
        await self._recorder.abandon(
            CellCalls(address=self._address, attempts=tuple(self._attempts))
        )

    def close(self) -> None:
        """End the account, whatever became of the cell."""

    def _cost(self, usage: Usage) -> Decimal | None:
        return None if self._tariff is None else self._tariff.cost(usage)


class FundedLedger(Ledger):
    """A ledger whose calls a budget pays: each is drawn for before it is made."""

    def __init__(
        self,
        tariff: Tariff | None,
        address: CellAddress,
        recorder: Recorder,
        may_call: Callable[[], None],
        *,
        purse: Purse,
        drawn: Decimal,
    ) -> None:
        super().__init__(tariff, address, recorder, may_call)
        self._purse = purse
        self._reserved = self._each = drawn
        self._is_drawn = True
        """The first call's money comes with the ledger."""

    @override
    def sending(self, number: int) -> None:
        if not self._is_drawn and not self._purse.take(self._each):
            raise Unfunded(self._each)
        self._is_drawn = True
        super().sending(number)

    @override
    def ended(self, attempt: AttemptReport) -> None:
        super().ended(attempt)
        last = self._attempts[-1]
        unknown = self._each if last.outcome.may_be_billed else Decimal(0)
        self._purse.settle(self._each, unknown if last.cost_usd is None else last.cost_usd)
        self._is_drawn = False

    @override
    def close(self) -> None:
        """Put back what was drawn for a call that was not made."""
        if self._is_drawn:
            self._purse.settle(self._each, Decimal(0))
            self._is_drawn = False


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


def _counted(tokens: int | None) -> int | None:
    """Take a count of tokens; a provider's nonsense is "not reported"."""
    return tokens if tokens is not None and 0 <= tokens <= MOST_TOKENS else None


def _outcome(completion: Completion) -> Outcome:
    if completion.outcome is GatewayOutcome.REFUSED:
        return Outcome.REFUSED
    return Outcome.TRUNCATED if completion.finish_reason == "length" else Outcome.OK


def _milliseconds(duration: timedelta) -> float:
    return duration.total_seconds() * 1000

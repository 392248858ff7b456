"""Takes what the gateway noted of its calls to the database, in bulk and beside the hot path."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import anyio
from msgspec.structs import replace
from typing_extensions import override

from gateway.usage import Sink, UsageRecord
from hikaku.pricing import MOST_TOKENS
from hikaku.storage import usage
from hikaku.storage.connection import Sessions
from hikaku.storage.usage import UsageLine, UsedPrice


class UsageSink(Sink):
    """Writes sums and single calls; forgets those that are old, once a day."""

    def __init__(self, sessions: Sessions, *, days: int) -> None:
        """Begin.

        Args:
            sessions: The database.
            days: How long single calls are kept.
        """
        self._sessions = sessions
        self._kept = timedelta(days=days)
        self._open: set[date] = set()

    @override
    async def write(self, records: Sequence[UsageRecord]) -> None:
        await anyio.to_thread.run_sync(self._store, records)

    def _store(self, records: Sequence[UsageRecord]) -> None:
        lines = [_line(record) for record in records]
        days = {line.at.date() for line in lines}
        if missing := sorted(days - self._open):
            with self._sessions.begin() as session:
                usage.open_days(session, missing)
                # By the clock that is behind: one that runs ahead must not make all of them old.
                today = min(usage.today(session), max(days))
                # A call may be older than all that is kept: a clock that was put right.
                usage.forget(session, before=min(today - self._kept, missing[0]))
            self._open |= days
        with self._sessions.begin() as session:
            usage.write(session, lines)


def _line(record: UsageRecord) -> UsageLine:
    # What no column holds is a provider's nonsense, and as good as no count.
    record = replace(
        record,
        input_tokens=_plausible(record.input_tokens),
        output_tokens=_plausible(record.output_tokens),
    )
    return UsageLine(
        at=datetime.fromtimestamp(record.at, UTC),
        request_id=record.request_id,
        caller=record.caller or "",
        asked=record.asked,
        endpoint=record.endpoint or record.asked,
        outcome=record.outcome or "given_up",
        status=record.status,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cost_usd=record.cost_usd,
        attempts=min(record.attempts, 32_767),
        seconds=record.seconds,
        provider_seconds=record.provider_seconds,
        first_byte_seconds=record.first_byte_seconds,
        streamed=record.streamed,
        cached=record.cached,
        price=_price(record),
    )


def _price(record: UsageRecord) -> UsedPrice | None:
    if record.price is None:
        return None
    return UsedPrice(source=record.price_source or "", **record.price.model_dump())


def _plausible(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 <= tokens <= MOST_TOKENS else None

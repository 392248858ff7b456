"""Takes what the gateway noted of its calls to the database, in bulk and beside the hot path."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import anyio
from typing_extensions import override

from gateway.budgets import cost
from gateway.config import Catalog
from gateway.types import Usage
from gateway.usage import Sink, UsageRecord
from hikaku.storage import usage
from hikaku.storage.connection import Sessions
from hikaku.storage.usage import UsageLine


class UsageSink(Sink):
    """Writes sums and single calls; forgets those that are old, once a day."""

    def __init__(self, sessions: Sessions, catalog: Callable[[], Catalog], *, days: int) -> None:
        """Begin.

        Args:
            sessions: The database.
            catalog: What the gateway goes by now: there stand the prices.
            days: How long single calls are kept.
        """
        self._sessions = sessions
        self._catalog = catalog
        self._kept = timedelta(days=days)
        self._open: set[date] = set()

    @override
    async def write(self, records: Sequence[UsageRecord]) -> None:
        lines = [self._line(record) for record in records]
        await anyio.to_thread.run_sync(self._store, lines)

    def _store(self, lines: list[UsageLine]) -> None:
        # A call may be older than all that is kept: a clock that was put right.
        oldest = datetime.now(UTC) - self._kept
        days = {line.at.date() for line in lines}
        if missing := sorted(days - self._open):
            with self._sessions.begin() as session:
                usage.open_days(session, missing)
                usage.forget(session, before=min(oldest.date(), missing[0]))
            self._open |= days
        with self._sessions.begin() as session:
            usage.write(session, lines)

    def _line(self, record: UsageRecord) -> UsageLine:
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
            cost_usd=self._cost(record),
            attempts=min(record.attempts, 32_767),
            seconds=record.seconds,
            provider_seconds=record.provider_seconds,
            first_byte_seconds=record.first_byte_seconds,
            streamed=record.streamed,
            cached=record.cached,
        )

    def _cost(self, record: UsageRecord) -> Decimal | None:
        """What it cost; None: not known. Who was not asked, or gave it again, takes nothing."""
        if record.cached or record.attempts == 0:
            return Decimal(0)
        endpoint = self._catalog().endpoints.get(record.endpoint or record.asked)
        if endpoint is None or endpoint.price is None:
            return None
        counted = Usage(
            input_tokens=record.input_tokens,
            output_tokens=record.output_tokens,
            cached_input_tokens=record.cached_input_tokens,
        )
        return cost(endpoint.price, counted)

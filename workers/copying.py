"""Makes the records of a job that asks nothing: its cells are copied from another's."""

from datetime import UTC, datetime
from decimal import Decimal

from hikaku.jobs import CellAddress, CellRecord, Outcome, failure
from hikaku.storage.completions import Kept


def copied(address: CellAddress, kept: Kept | None, source: str) -> CellRecord:
    """Make the record of a cell from that of the job it is copied from."""
    if kept is None:
        return failure(address, Outcome.CANCELLED, f"{source} has no result for this cell")
    return CellRecord(
        address=address,
        outcome=kept.outcome,
        recorded_at=datetime.now(UTC),
        completion=kept.completion,
        finish_reason=kept.finish_reason,
        input_tokens=kept.input_tokens,
        output_tokens=kept.output_tokens,
        latency_ms=kept.latency_ms,
        cost_usd=Decimal(0),
        error=kept.error,
        reused=True,
    )

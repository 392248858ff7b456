"""How fast a job goes and when it ends, said only when there is something to say."""

from dataclasses import dataclass
from datetime import datetime, timedelta

_SOONEST = timedelta(seconds=1)
"""A rate over less than this is noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Cells per second, and seconds to the end; None is "not known"."""

    rate_per_second: float | None = None
    eta_seconds: float | None = None


def pace(
    *, done: int, pending: int, started_at: datetime | None, until: datetime, is_final: bool
) -> Pace:
    """Give the mean rate from the start until `until`, and what it means for the pending cells.

    A job that has ended has its mean rate and no estimate.
    """
    if started_at is None or not done or (until - started_at < _SOONEST and not is_final):
        return Pace()
    seconds = (until - started_at).total_seconds()
    if seconds <= 0:
        return Pace()
    rate = done / seconds
    eta = None if is_final else pending / rate
    return Pace(rate_per_second=rate, eta_seconds=eta)

"""MLflow's `limit:` of an endpoint: so many calls of one remote address in a period."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import CallLimit
from gateway.errors import RateLimited

_SECONDS = {
    "second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "month": 30 * 86_400,
    "year": 365 * 86_400,
}  # fmt: skip
_MOST_CALLERS = 100_000
"""Counters kept at once; beyond it the past windows are forgotten."""


class CallLimitExceeded(RateLimited):
    """This gateway's own limit, not a provider's."""


@dataclass(slots=True)
class _Window:
    number: int
    calls: int = 0


class CallQuota:
    """Counts of one process, by window, caller and endpoint."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], _Window] = {}

    def spend(self, limit: CallLimit, *caller: str) -> None:
        """Count one call.

        Raises:
            CallLimitExceeded: The period's calls are spent.
        """
        number = int(self._clock() // _SECONDS[limit.renewal_period])
        if len(self._windows) > _MOST_CALLERS:
            self._windows.clear()
        window = self._windows.get(caller)
        if window is None or window.number != number:
            window = self._windows[caller] = _Window(number)
        window.calls += 1
        if window.calls > limit.calls:
            raise CallLimitExceeded(
                f"Rate limit exceeded: {limit.calls} per 1 {limit.renewal_period}"
            )

"""MLflow's `limit:` of an endpoint: so many calls of one remote address in a period."""

import itertools
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
"""Counters kept at once; beyond it a tenth is forgotten."""


class CallLimitExceeded(RateLimited):
    """This gateway's own limit, not a provider's."""


@dataclass(slots=True)
class _Window:
    number: int
    calls: int = 0


class CallQuota:
    """Counts of one process, by window, caller and endpoint."""

    def __init__(
        self, clock: Callable[[], float] = time.time, *, most: int = _MOST_CALLERS
    ) -> None:
        self._clock = clock
        self._most = most
        self._windows: dict[tuple[str, ...], _Window] = {}

    def spend(self, limit: CallLimit, *caller: str) -> None:
        """Count one call.

        Raises:
            CallLimitExceeded: The period's calls are spent.
        """
        number = int(self._clock() // _SECONDS[limit.renewal_period])
        if len(self._windows) >= self._most and caller not in self._windows:
            self._forget()
        window = self._windows.get(caller)
        if window is None or window.number != number:
            window = self._windows[caller] = _Window(number)
        window.calls += 1
        if window.calls > limit.calls:
            raise CallLimitExceeded(
                f"Rate limit exceeded: {limit.calls} per 1 {limit.renewal_period}"
            )

    def _forget(self) -> None:
        """Forget a tenth, those seen first: not all, or who has many addresses ends everybody's."""
        for caller in list(itertools.islice(self._windows, self._most // 10 or 1)):
            del self._windows[caller]

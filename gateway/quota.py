"""MLflow's `limit:` of an endpoint: so many calls of one remote address in a period."""

import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from gateway.config import CallLimit
from gateway.errors import RateLimited

SECONDS = {
    "second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "month": 30 * 86_400,
    "year": 365 * 86_400,
}  # fmt: skip
"""Of a period; periods begin where Unix time does."""
MOST_CALLERS = 100_000
"""Counters kept at once; beyond it a tenth is forgotten."""


class CallLimitExceeded(RateLimited):
    """This gateway's own limit, not a provider's."""

    def __init__(self, limit: CallLimit) -> None:
        super().__init__(f"Rate limit exceeded: {limit.calls} per 1 {limit.renewal_period}")


class CallQuota(Protocol):
    """Where calls are counted; a shared store can stand behind it."""

    def spend(self, limit: CallLimit, *caller: str) -> Awaitable[None] | None:
        """Count one call; whoever gets something to wait for waits for it.

        Raises (at once or when awaited):
            CallLimitExceeded: The period's calls are spent.
        """
        ...


@dataclass(slots=True)
class Window:
    """One caller's count in one period."""

    number: int
    """Of the period, since Unix time began."""
    calls: int = 0
    owed: int = 0
    """Of them, those that a shared store has not heard of."""
    full_until: float = 0.0
    """Until then a shared store need not be asked: it said that all are spent."""


class Windows:
    """Counts by caller: bounded, and of the present period only."""

    def __init__(self, most: int = MOST_CALLERS) -> None:
        self._most = most
        self._found: dict[tuple[str, ...], Window] = {}

    def of(self, caller: tuple[str, ...], number: int) -> Window:
        """The count of a caller; an empty one when a new period has begun."""
        window = self._found.get(caller)
        if window is None or window.number != number:
            if window is None and len(self._found) >= self._most:
                self._forget()
            window = self._found[caller] = Window(number)
        return window

    def _forget(self) -> None:
        """Forget a tenth, those seen first: not all, or who has many addresses ends everybody's."""
        for caller in list(itertools.islice(self._found, self._most // 10 or 1)):
            del self._found[caller]


class LocalQuota(CallQuota):
    """Counts of one process, by period, caller and endpoint."""

    def __init__(self, clock: Callable[[], float] = time.time, *, most: int = MOST_CALLERS) -> None:
        self._clock = clock
        self._windows = Windows(most)

    @override
    def spend(self, limit: CallLimit, *caller: str) -> None:
        window = self._windows.of(caller, period_of(limit, self._clock()))
        if window.calls >= limit.calls:
            raise CallLimitExceeded(limit)
        window.calls += 1


def period_of(limit: CallLimit, now: float) -> int:
    """The number of the limit's period at a Unix time."""
    return int(now // SECONDS[limit.renewal_period])

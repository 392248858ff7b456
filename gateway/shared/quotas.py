"""MLflow's `limit:` as one count of all processes: who is refused by one is refused by all."""

import time
from collections.abc import Callable
from contextlib import suppress

from typing_extensions import override

from gateway.config import CallLimit
from gateway.quota import SECONDS, CallLimitExceeded, CallQuota, Window, Windows, period_of
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub
from gateway.shared.terms import digest


class SharedQuota(CallQuota):
    """In the store, by its clock; while it is away, a part of what was left in each process."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._clock = clock
        self._windows = Windows()

    @override
    async def spend(self, limit: CallLimit, *caller: str) -> None:
        now = self._clock()
        window = self._windows.of((limit.renewal_period, *caller), period_of(limit, now))
        if now < window.full_until and window.calls >= limit.calls:
            raise CallLimitExceeded(limit)
        with suppress(AwayError):
            await self._counted(limit, window, caller)
            return
        self._count_alone(limit, window)

    async def _counted(self, limit: CallLimit, window: Window, caller: tuple[str, ...]) -> None:
        """Count in the store; what was let pass without it is counted with this call."""
        key = self._hub.key("quota", f"{{{digest(chr(0).join(caller))}}}", limit.renewal_period)
        owed, window.owed = window.owed, 0  # Not twice, when several calls are counted at once.
        try:
            passes, calls, left = await self._hub.run(
                scripts.COUNT, [key], [limit.calls, SECONDS[limit.renewal_period], owed]
            )
        except BaseException:
            window.owed += owed
            raise
        window.calls = max(window.calls, int(calls))
        if not int(passes):
            window.full_until = self._clock() + int(left) / 1000
            raise CallLimitExceeded(limit)

    def _count_alone(self, limit: CallLimit, window: Window) -> None:
        """Let pass a part of what the store had left when it was last asked, one at least."""
        left = limit.calls - (window.calls - window.owed)
        if window.owed >= max(int(left * self._hub.share), min(left, 1)):
            raise CallLimitExceeded(limit)
        window.calls += 1
        window.owed += 1

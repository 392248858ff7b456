"""How fast an endpoint may be asked: concurrency, calls per minute, and the provider's own word."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Protocol

from typing_extensions import override

from gateway.config import Limits

LONGEST_BLOCK = timedelta(seconds=60)
"""However long a `Retry-After` is, someone asks again after this."""
BURST_SECONDS = 1.0
"""Calls that an unused `rpm` saves up, in seconds of its rate."""


class Gate(Protocol):
    """What every call to one endpoint passes; a shared store can stand behind it."""

    def admitted(self) -> AbstractAsyncContextManager[None]:
        """Wait until a call may go; the place is given back on leaving."""
        ...

    async def block(self, duration: timedelta) -> None:
        """Hold everyone back: the provider asked for patience."""
        ...


class LocalGate(Gate):
    """Limits of one process."""

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._places = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        self._interval = 60.0 / limits.rpm if limits.rpm else 0.0
        self._burst = max(BURST_SECONDS - self._interval, 0.0)
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._blocked_until = 0.0

    @override
    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        async with self._places or nullcontext():
            await self._wait_turn()
            yield

    @override
    async def block(self, duration: timedelta) -> None:
        until = self._clock() + min(duration, LONGEST_BLOCK).total_seconds()
        self._blocked_until = max(self._blocked_until, until)

    async def _wait_turn(self) -> None:
        if self._interval:
            # A turn is taken before waiting for it, so that turns are handed out in order.
            turn = max(self._next, self._clock() - self._burst)
            self._next = turn + self._interval
            if (wait := turn - self._clock()) > 0:
                await self._sleep(wait)
        while (wait := self._blocked_until - self._clock()) > 0:
            await self._sleep(wait)

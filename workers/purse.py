"""What one claim may still spend: drawn from before each call, given back when its cost is known.

The money was set aside in Postgres, in bulk. So a call needs no statement, and what all purses
together hand out is never more than the budgets have.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

from hikaku.pricing import Ceiling
from workers.errors import Unfunded

REFUSAL_HOLDS = 1.0
"""Seconds for which "there is no more" is believed without asking again."""

Refill = Callable[[Decimal], Awaitable[Decimal]]
"""Sets more aside, at least so much; 0 when there is not that much left."""


class Purse:
    """The money of one claim of a shard. For the event loop's thread."""

    def __init__(self, ceiling: Ceiling | str, usd: Decimal, refill: Refill) -> None:
        self._ceiling = ceiling
        self._usd = usd
        self._refill = refill
        self._out = 0
        """Calls that were drawn for and are not settled."""
        self._refused_until = 0.0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    def most(self, contents: Sequence[str]) -> Decimal:
        """Bound what messages can cost.

        Raises:
            Unfunded: There is no telling.
        """
        if isinstance(self._ceiling, str):
            raise Unfunded(Decimal("Infinity"), self._ceiling)
        return self._ceiling.of(contents)

    async def draw(self, usd: Decimal) -> None:
        """Take the money for one call; waits while calls in flight may give some back.

        Raises:
            Unfunded: There is not so much, and nothing is in flight that could give it back.
        """
        async with self._turn:  # first come, first served: a dear cell is not overtaken for ever
            while not self.take(usd):
                self._changed.clear()
                if await self._more(usd) or self._changed.is_set():
                    continue
                if not self._out:
                    raise Unfunded(usd)
                await self._changed.wait()

    def take(self, usd: Decimal) -> bool:
        """Take the money for one call if it is there."""
        if self._usd < usd:
            return False
        self._usd -= usd
        self._out += 1
        return True

    def settle(self, drawn: Decimal, spent: Decimal) -> None:
        """Put back what a call has not cost."""
        self._usd += drawn - spent
        self._out -= 1
        self._changed.set()

    async def _more(self, usd: Decimal) -> bool:
        now = time.monotonic()
        if now < self._refused_until:
            return False
        granted = await self._refill(usd)
        self._usd += granted
        if not granted:
            self._refused_until = now + REFUSAL_HOLDS
        return granted > 0

"""Budgets of endpoints that all processes spend from: money is taken in small sums.

What a process that is killed had in its purse counts as spent until the period ends: never too
much is spent, at most a hundredth of the budget too little.
"""

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal

from typing_extensions import override

from gateway.budgets import SECONDS, Budgets, dearest, exhausted, period_of
from gateway.config import Budget, Endpoint, cost
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub, News
from gateway.shared.terms import digest
from gateway.types import Usage

_NANO = 1_000_000_000
_CALLS = 16
"""Worth of calls that is taken at once ..."""
_PART = 100
"""... but not more than this part of the budget."""


class _Purse:
    """Of one endpoint, period and, it may be, caller; sums in billionths of a dollar."""

    __slots__ = ("budget", "key", "known", "left", "spent", "touched")

    def __init__(self, key: str, budget: Budget) -> None:
        self.key = key
        self.budget = budget
        self.left = 0
        """Taken and not spent; below zero when calls cost more than was set aside."""
        self.known = 0
        """What all had spent when we last asked."""
        self.spent = 0
        """By us, while nobody could be asked."""
        self.touched = False


class SharedBudgets(Budgets):
    """Spending by endpoint, caller and period, together with all other processes."""

    keys: frozenset[str] = frozenset()

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._clock = clock
        self._purses: dict[tuple[str, str | None, int], _Purse] = {}
        hub.watch(self)

    @override
    def reserve(
        self, endpoint: Endpoint, caller: str | None, tokens: int
    ) -> Decimal | Awaitable[Decimal]:
        if endpoint.budget is None or endpoint.price is None:
            return Decimal(0)
        wanted = _nano(dearest(endpoint.price, tokens))
        purse = self._purse(endpoint, endpoint.budget, caller)
        purse.touched = True
        if purse.left < wanted:
            return self._leased(endpoint, purse, wanted)
        purse.left -= wanted
        return Decimal(wanted) / _NANO

    @override
    def settle(
        self, endpoint: Endpoint, caller: str | None, reserved: Decimal, usage: Usage | None
    ) -> None:
        if endpoint.budget is None or endpoint.price is None:
            return
        real = Decimal(0) if usage is None else cost(endpoint.price, usage)
        if real is not None:
            purse = self._purse(endpoint, endpoint.budget, caller)
            purse.left += _nano(reserved) - _nano(real)

    # What the hub asks of a watcher.

    def learn(self, news: News) -> None:
        """Nothing is told of budgets."""

    def returned(self) -> None:
        """What was spent meanwhile is in the purses, below zero."""
        for purse in self._purses.values():
            purse.spent = 0

    async def beat(self) -> None:
        """Give back what was not used since the last time; forget what is past."""
        for key, purse in list(self._purses.items()):
            if purse.touched:
                purse.touched = False
                continue
            await self._give_back(purse)
            if key[2] < period_of(purse.budget, self._clock()):
                self._purses.pop(key, None)

    async def part(self) -> None:
        """Give back all."""
        for purse in list(self._purses.values()):
            await self._give_back(purse)

    async def bury(self, dead: str) -> None:
        """What it had taken counts as spent."""

    async def _give_back(self, purse: _Purse) -> None:
        left, purse.left = purse.left, 0
        if not left:
            return
        try:
            await self._hub.ask("DECRBY", purse.key, left)
        except AwayError:
            purse.left += left

    async def _leased(self, endpoint: Endpoint, purse: _Purse, wanted: int) -> Decimal:
        before, purse.left = purse.left, 0  # Nobody else is to count on it meanwhile.
        try:
            granted = await self._granted(purse, wanted, wanted - before)
        except BaseException:
            purse.left += before
            raise
        purse.left += before
        if granted is None:
            raise exhausted(endpoint.name, purse.budget, self._clock())
        purse.left += granted - wanted
        return Decimal(wanted) / _NANO

    async def _granted(self, purse: _Purse, wanted: int, least: int) -> int | None:
        """What was taken from the budget; None when it does not suffice."""
        budget = _nano(purse.budget.usd)
        most = max(least, min(wanted * _CALLS, budget // _PART))
        ttl = 2 * SECONDS[purse.budget.period]
        try:
            answer = await self._hub.run(scripts.LEASE, [purse.key], [budget, least, most, ttl])
        except AwayError:
            purse.spent += wanted
            free = int((budget - purse.known) * self._hub.share)
            return 0 if purse.spent <= free else None  # What is spent unasked is owed.
        purse.known = int(answer[1])
        return int(answer[0]) if int(answer[0]) >= 0 else None

    def _purse(self, endpoint: Endpoint, budget: Budget, caller: str | None) -> _Purse:
        whose = caller if budget.per_key else None
        period = period_of(budget, self._clock())
        key = endpoint.name, whose, period
        purse = self._purses.get(key)
        if purse is None:
            name = digest(f"{endpoint.name} {whose}")
            at = self._hub.key("budget", f"{{{name}}}", budget.period, str(period))
            purse = self._purses[key] = _Purse(at, budget)
        return purse


def _nano(usd: Decimal) -> int:
    return int(usd * _NANO)

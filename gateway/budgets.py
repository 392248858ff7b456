"""How much an endpoint may cost: reserved before a call, settled after it."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from typing_extensions import override

from gateway.config import Budget, Endpoint, Price, cost
from gateway.errors import BudgetExhausted
from gateway.types import Usage

SECONDS = {"hour": 3_600, "day": 86_400, "month": 30 * 86_400}
"""Of a period."""
_MILLION = Decimal(1_000_000)
_MOST_PURSES = 100_000
"""Counters kept at once; beyond it those of past periods are forgotten."""


class Budgets(Protocol):
    """Where spending is kept; a shared store can stand behind it."""

    def reserve(
        self, endpoint: Endpoint, caller: str | None, tokens: int
    ) -> Decimal | Awaitable[Decimal]:
        """Set aside what a call of about so many tokens may cost, in USD.

        Raises (at once or when awaited):
            BudgetExhausted: The period's money does not suffice.
        """
        ...

    def settle(
        self, endpoint: Endpoint, caller: str | None, reserved: Decimal, usage: Usage | None
    ) -> None:
        """Put the real cost in the place of what was reserved; None: the call cost nothing.

        Of an answer without token counts, the reserved sum stays spent: unknown is not free.
        """
        ...


class LocalBudgets(Budgets):
    """Spending of one process, by endpoint, caller and period; a restart forgets it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._spent: dict[tuple[str, str | None, int], Decimal] = {}

    @override
    def reserve(self, endpoint: Endpoint, caller: str | None, tokens: int) -> Decimal:
        budget = endpoint.budget
        if budget is None or endpoint.price is None:
            return Decimal(0)
        wanted = dearest(endpoint.price, tokens)
        key = self._key(endpoint.name, budget, caller)
        spent = self._spent.get(key, Decimal(0))
        if spent + wanted > budget.usd:
            raise exhausted(endpoint.name, budget, self._clock())
        self._spent[key] = spent + wanted
        if len(self._spent) > _MOST_PURSES:
            self._forget_the_past(key[2])
        return wanted

    @override
    def settle(
        self, endpoint: Endpoint, caller: str | None, reserved: Decimal, usage: Usage | None
    ) -> None:
        budget = endpoint.budget
        if budget is None or endpoint.price is None:
            return
        real = Decimal(0) if usage is None else cost(endpoint.price, usage)
        if real is not None:
            key = self._key(endpoint.name, budget, caller)
            self._spent[key] = max(self._spent.get(key, Decimal(0)) + real - reserved, Decimal(0))

    def spent(self, endpoint: Endpoint, caller: str | None = None) -> Decimal:
        """In the present period, in USD."""
        if endpoint.budget is None:
            return Decimal(0)
        return self._spent.get(self._key(endpoint.name, endpoint.budget, caller), Decimal(0))

    def _key(self, name: str, budget: Budget, caller: str | None) -> tuple[str, str | None, int]:
        return name, caller if budget.per_key else None, period_of(budget, self._clock())

    def _forget_the_past(self, period: int) -> None:
        self._spent = {key: sum_ for key, sum_ in self._spent.items() if key[2] >= period}


def dearest(price: Price, tokens: int) -> Decimal:
    """The most that so many tokens can cost, in USD, as far as prices are known."""
    known = (price.input_usd_per_million_tokens, price.output_usd_per_million_tokens)
    return max((p for p in known if p is not None), default=Decimal(0)) * tokens / _MILLION


def period_of(budget: Budget, now: float) -> int:
    """The number of the budget's period at a Unix time."""
    return int(now // SECONDS[budget.period])


def exhausted(name: str, budget: Budget, now: float) -> BudgetExhausted:
    """The refusal of a call that the period's money does not suffice for."""
    length = SECONDS[budget.period]
    until = datetime.fromtimestamp(now, UTC) + timedelta(seconds=length - now % length)
    whose = " of one key" if budget.per_key else ""
    return BudgetExhausted(
        f"the budget{whose} for `{name}`, {budget.usd} USD per {budget.period}, does not"
        f" suffice for this call; it renews at {until:%Y-%m-%dT%H:%M:%SZ}",
        code="budget_exhausted",
    )

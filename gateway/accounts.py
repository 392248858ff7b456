"""The gates of one process: each endpoint's own, and those that an account's endpoints share."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Protocol

from typing_extensions import override

from gateway.config import Account, Endpoint, Rates
from gateway.errors import Outcome, QuotaExhausted
from gateway.http.told import Told
from gateway.limits import CallerGates, Callers, Gate, LocalGate


def is_vendor(endpoint: Endpoint) -> bool:
    """Whether somebody else's provider is asked, who counts calls: there is a key."""
    return bool(endpoint.secrets)


def is_unknown(endpoint: Endpoint) -> bool:
    """Whether a provider may have limits that nobody told us: a vendor's, for those have keys."""
    limits = endpoint.limits
    return is_vendor(endpoint) and limits.rpm is None and limits.concurrency is None


class JointGate(Gate):
    """Two gates in a row: an endpoint's own, and the one that its account's endpoints share."""

    def __init__(self, own: Gate, account: Gate) -> None:
        self._own = own
        self._account = account

    @override
    def enter(self, tokens: int) -> Awaitable[None] | None:
        if (waiting := self._own.enter(tokens)) is not None:
            return self._both(tokens, waiting)
        try:
            second = self._account.enter(tokens)
        except BaseException:
            self._own.leave(tokens, None, None)
            raise
        return None if second is None else self._second(tokens, second)

    @override
    def leave(self, tokens: int, spent: int | None, outcome: Outcome | None) -> None:
        self._account.leave(tokens, spent, outcome)
        self._own.leave(tokens, spent, outcome)

    @override
    async def block(self, duration: timedelta) -> None:
        await self._own.block(duration)

    @override
    def refused(self, asked: timedelta | None, ago: float) -> bool:
        return self._own.refused(asked, ago)

    @override
    def heard(self, told: Told | None) -> None:
        self._own.heard(told)

    @override
    def shut(self, error: QuotaExhausted) -> None:
        self._account.shut(error)

    @property
    @override
    def closed(self) -> str | None:
        return self._account.closed

    async def _both(self, tokens: int, waiting: Awaitable[None]) -> None:
        await waiting
        try:
            if (second := self._account.enter(tokens)) is not None:
                await second
        except BaseException:
            self._own.leave(tokens, None, None)
            raise

    async def _second(self, tokens: int, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except BaseException:
            self._own.leave(tokens, None, None)
            raise


class Gates(Protocol):
    """Where gates come from; a shared store can stand behind it."""

    def of(self, endpoint: Endpoint) -> Gate:
        """The gate of an endpoint."""
        ...

    def of_callers(self, endpoint: Endpoint, rates: Rates) -> Callers:
        """The gates of an endpoint's callers, of whom each has so much."""
        ...


class LocalGates(Gates):
    """Gates that this process keeps by itself."""

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        """How many seconds a call waits where its endpoint does not say."""
        self._accounts: dict[Account, LocalGate] = {}

    @override
    def of(self, endpoint: Endpoint) -> Gate:
        given = endpoint.limits.max_wait
        max_wait = self._patience if given is None else given
        own = LocalGate(endpoint.limits, unknown=is_unknown(endpoint), max_wait=max_wait)
        account = endpoint.account
        if account is None or not account.limited:
            return own
        if account not in self._accounts:
            self._accounts[account] = LocalGate(account.limits, max_wait=max_wait)
        return JointGate(own, self._accounts[account])

    @override
    def of_callers(self, endpoint: Endpoint, rates: Rates) -> Callers:
        return CallerGates(rates)

"""The gates of one process: each endpoint's own, and those that an account's endpoints share."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import Outcome, QuotaExhausted
from gateway.http.told import Told
from gateway.limits import Gate, LocalGate


def is_unknown(endpoint: Endpoint) -> bool:
    """Whether a provider may have limits that nobody told us: a vendor's, for those have keys."""
    return bool(endpoint.secrets) and endpoint.limits.rpm is None


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


def local_gates(patience: float | None = None) -> Callable[[Endpoint], Gate]:
    """Gates that this process keeps by itself; `patience` is the default of `max_wait`."""
    accounts: dict[str, LocalGate] = {}

    def gate(endpoint: Endpoint) -> Gate:
        given = endpoint.limits.max_wait
        max_wait = patience if given is None else given
        own = LocalGate(endpoint.limits, unknown=is_unknown(endpoint), max_wait=max_wait)
        account = endpoint.account
        if account is None or not account.limited:
            return own
        key = f"{account.id} {account.limits!r}"
        if key not in accounts:
            accounts[key] = LocalGate(account.limits, max_wait=max_wait)
        return JointGate(own, accounts[key])

    return gate

"""An account without quota: nobody asks for a while, and everybody hears why."""

import time
from collections.abc import Callable

from gateway.errors import QuotaExhausted

CLOSED_SECONDS = 60.0
"""How long an account without quota is not asked."""


class Closure:
    """An account that has nothing left is not asked for a while; then somebody finds out."""

    __slots__ = ("_clock", "_message", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self._message = ""

    def close(self, message: str, seconds: float = CLOSED_SECONDS) -> None:
        """Close for so long."""
        self._message = message
        self._until = self._clock() + seconds

    def check(self) -> None:
        """Let pass, or not.

        Raises:
            QuotaExhausted: It is closed.
        """
        if self._until and (reason := self.reason) is not None:
            raise QuotaExhausted(reason, code="insufficient_quota")

    @property
    def known(self) -> bool:
        """Whether it may be closed: looked at first, for it is cheap."""
        return self._until > 0

    @property
    def reason(self) -> str | None:
        """Why it is closed; None when it is open."""
        left = self._until - self._clock()
        if left <= 0:
            self._until = 0.0
            return None
        return f"the account has no quota left; it is asked again in {left:.0f} s: {self._message}"

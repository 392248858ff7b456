"""Leaves a failing server alone for a while, then lets one call find out."""

import time
from collections.abc import Callable
from enum import StrEnum

from gateway.config import Breaker as Settings

FAILURES_ALONE = 10
FAILURES_IN_POOL = 3
"""Others can answer: a replica is suspected sooner than an only server."""
PROBE_WAIT = 0.5
"""Seconds to come again while another call probes."""


class State(StrEnum):
    """What a breaker lets through: everything, nothing, or one call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts failures in a row; not thread-safe, as all that runs in one event loop."""

    __slots__ = (
        "_clock", "_failures", "_open_for", "_open_until", "_probing", "_row", "_settings",
        "tripped",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, *, pooled: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tripped = False
        """Whether it is open or half open: looked at first, for it is cheap."""
        self._clock = clock
        self._open_until = 0.0
        self._probing = False
        self._row = 0
        self.configure(settings, pooled=pooled)
        self._open_for = settings.open

    def configure(self, settings: Settings, *, pooled: bool) -> None:
        """Take other settings; what it has seen stays."""
        self._settings = settings
        usual = FAILURES_IN_POOL if pooled else FAILURES_ALONE
        self._failures = settings.failures or usual

    @property
    def state(self) -> State:
        """For people to look at."""
        if not self.tripped:
            return State.CLOSED
        return State.OPEN if self._clock() < self._open_until else State.HALF_OPEN

    def wait(self) -> float:
        """Seconds until a call may go; 0 when one may go now."""
        if not self.tripped:
            return 0.0
        if self._probing:
            return PROBE_WAIT
        return max(self._open_until - self._clock(), 0.0)

    def enter(self) -> None:
        """Note that a call goes; through a half-open breaker, it is the probe."""
        if self.tripped:
            self._probing = True

    def succeeded(self) -> None:
        """The server lives."""
        self._row = 0
        if self.tripped:
            self.tripped = self._probing = False
            self._open_for = self._settings.open

    def failed(self) -> None:
        """The server did not answer as one that is well."""
        if self.tripped:
            if self._probing:
                self._open_for = min(self._open_for * 2, self._settings.max_open)
                self._open()
            return
        self._row += 1
        if self._row >= self._failures and self._settings.enabled:
            self._open()

    def abandoned(self) -> None:
        """The call ended without telling anything about the server."""
        self._probing = False

    def open_at_once(self) -> None:
        """Somebody else knows that the server is down."""
        if not self.tripped:
            self._open()

    def half_open(self) -> None:
        """Somebody else thinks that the server is back: the next call finds out."""
        if self.tripped:
            self._open_until = self._clock()

    def _open(self) -> None:
        self.tripped = True
        self._probing = False
        self._row = 0
        self._open_until = self._clock() + self._open_for

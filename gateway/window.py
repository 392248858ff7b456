"""How many calls at once a provider bears: found out by additive increase, multiplicative decrease.

There is no window until the provider complains, unless nothing is known of it: then there are two
calls at once at first, and one more for each that is answered. After a complaint it is cut once a
second at most, grows while it is used, and is forgotten when it has become wide again.
"""

import sys
import time
from collections.abc import Callable

NO_LIMIT = sys.maxsize
FIRST = 2
"""Calls at once to a provider that may have limits and has not told them yet."""
_WIDE = 256
"""Calls at once that were borne by a provider of which nothing is known: caution is over."""
_CUT = 0.7
_CUT_EVERY = 1.0
"""Seconds: the calls of one burst complain together, and are one complaint."""
_STEP = 1 / 16
"""Of a call, for every success: a sixteenth of the window per window of successes."""
_USED = 0.8
"""A window that is not used says nothing about whether it could be wider."""
_FORGOTTEN = 4.0
"""Times the calls that there were at the first complaint."""


class Window:
    """Counts for one endpoint in one process; not thread-safe, as all inside one event loop."""

    __slots__ = ("_clock", "_cut_at", "_forget_at", "_width", "engaged", "places")

    def __init__(
        self, *, unknown: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin without an opinion, or, towards an `unknown` provider, with caution."""
        self._clock = clock
        self._cut_at = float("-inf")
        self._forget_at = 0.0
        self._width = float(FIRST)
        self.engaged = unknown
        """Whether `places` is a limit: looked at first, for it is cheap."""
        self.places = FIRST if unknown else NO_LIMIT

    def introduced(self) -> None:
        """The provider has told its limits, or they were found out: caution is over."""
        if not self._forget_at:
            self._forget()

    def complained(self, in_flight: int) -> None:
        """The provider was asked too much, with so many calls in flight at that moment."""
        now = self._clock()
        if now - self._cut_at < _CUT_EVERY:
            return
        self._cut_at = now
        if not self._forget_at:
            self._forget_at = max(_FORGOTTEN * in_flight, 16.0)
            self._width = float(in_flight)
        self._width = max(min(self._width, float(in_flight)) * _CUT, 1.0)
        self.engaged = True
        self.places = int(self._width)

    def succeeded(self, in_flight: int) -> None:
        """A call was answered, with so many in flight at that moment, itself included."""
        if not self.engaged:
            return
        if not self._forget_at:
            self._width += 1
            self.places = int(self._width)
            if self._width >= _WIDE:
                self._forget()
        elif in_flight >= self._width * _USED - 1:
            self._width += _STEP
            self.places = int(self._width)
            if self._width >= self._forget_at:
                self._forget()

    def _forget(self) -> None:
        self.engaged = False
        self.places = NO_LIMIT
        self._forget_at = 0.0

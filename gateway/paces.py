"""Paces: units per minute, handed out in order, as configured or as the provider tells."""

from gateway.http.told import Meter, Told

BURST_SECONDS = 1.0
"""Calls and tokens that an unused rate saves up, in seconds of it."""
_LITTLE = 0.1
"""Of a limit: when less is left, it is made to last until the reset."""
_SLOWEST = 0.05
"""Of a limit: somebody has to find out that there is more again."""
_NOTICED = 0.02
"""Smaller changes of a pace are none."""


class Pace:
    """So many units per minute, handed out in order, with a little saved up."""

    __slots__ = ("_burst", "_interval", "_next", "_seconds")

    def __init__(self, per_minute: float, burst: float = BURST_SECONDS) -> None:
        self._seconds = burst
        self._next = 0.0
        self.change(per_minute)

    def change(self, per_minute: float) -> None:
        """Go at another pace from now on."""
        self._interval = 60.0 / per_minute
        self._burst = max(self._seconds - self._interval, 0.0)

    def wait(self, now: float) -> float:
        """Seconds until the next unit is due."""
        return max(max(self._next, now - self._burst) - now, 0.0)

    def take(self, units: float, now: float) -> None:
        """Take units now, whether due or not: later ones wait the longer."""
        self._next = max(self._next, now - self._burst) + units * self._interval

    def correct(self, units: float) -> None:
        """Take `units` more than was thought, or give some back."""
        self._next += units * self._interval


class Learned:
    """What the provider tells of its limits, as a pace per minute; None: it does not tell."""

    __slots__ = ("requests", "tokens")

    def __init__(self) -> None:
        self.requests: float | None = None
        self.tokens: float | None = None

    def hear(self, told: Told) -> bool:
        """Take it in; whether the pace is another one now."""
        requests = _pace(told.requests, self.requests)
        tokens = _pace(told.tokens, self.tokens)
        changed = (requests, tokens) != (self.requests, self.tokens)
        self.requests, self.tokens = requests, tokens
        return changed


def _pace(meter: Meter | None, before: float | None) -> float | None:
    """Calls or tokens per minute: the limit, or less, so that what is left lasts until the reset.

    That holds for windows that end at once and for buckets that fill up by and by: of a bucket,
    half remains in the end, at the full pace.
    """
    if meter is None or meter.per_minute is None:
        return before
    pace = limit = meter.per_minute
    remaining, reset = meter.remaining, meter.reset
    if remaining is not None and reset and reset > 1 and remaining < limit * _LITTLE:
        pace = min(max(remaining / reset * 60, limit * _SLOWEST), limit)
    same = before is not None and abs(pace - before) <= before * _NOTICED
    return before if same else pace


def slower(given: float | None, learned: float | None) -> float | None:
    """The lower of two paces, of which each may be unknown."""
    if given is None or learned is None:
        return given if learned is None else learned
    return min(given, learned)

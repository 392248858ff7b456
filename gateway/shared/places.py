"""Places (calls at once): held on a lease, per process, and given to others who want them."""

from collections.abc import Callable

from gateway.shared import scripts
from gateway.shared.hub import PRESENT, AwayError, Hub, News
from gateway.shared.terms import Terms
from gateway.window import NO_LIMIT

_HOLD_EVERY = 0.2
"""Seconds between two looks at the places while there are not enough for all."""


class Places:
    """Those of one gate."""

    __slots__ = ("_clock", "_hub", "_job", "_next", "_terms", "held", "limited", "most", "short")

    def __init__(self, terms: Terms, hub: Hub, *, job: bool, clock: Callable[[], float]) -> None:
        self._terms = terms
        self._hub = hub
        self._job = job
        self._clock = clock
        self.most = min((places for _, places in terms.holds), default=NO_LIMIT)
        """Places of all processes."""
        self._next = 0.0
        self.limited = bool(terms.holds)
        self.held = 0 if self.limited else NO_LIMIT
        """Places that are ours at present."""
        self.short = False
        """Whether others, or we, wait for places."""

    @property
    def wait(self) -> float:
        """Seconds until it is time to look again; 0 or less: now."""
        return self._next - self._clock()

    def look_again(self) -> None:
        """Something has changed: look at once."""
        self._next = 0.0

    async def hold(self, busy: int, waiting: int) -> None:
        """Say how many places we have and want, and hear how many are ours."""
        wanted = min(busy + waiting, self.most)
        if waiting and not self.short:
            wanted = min(wanted + wanted // 4, self.most)
        before = self.short
        try:
            places, short = await self._asked(busy, wanted)
        except AwayError:
            share = max(int(self.most * self._hub.share), 1)
            places, short = min(share, max(wanted, 1)), 1
        self.held = places
        self.short = bool(short) and bool(busy or waiting)
        self._next = self._clock() + (_HOLD_EVERY if self.short else PRESENT / 5)
        if self.short and not before and self.held < wanted:
            for key, _ in self._terms.holds:
                self._hub.let(self._hub.tell(News(key, wanted=True)), "places wanted")

    async def bury(self, dead: str) -> None:
        """Free what a process held that is known to be dead."""
        if self.limited:
            await self._hub.run(scripts.BURY, [key for key, _ in self._terms.holds], [dead])
            self.look_again()

    async def _asked(self, busy: int, wanted: int) -> tuple[int, int]:
        keys = [key for key, _ in self._terms.holds]
        arguments = [
            f"{self._hub.me}:{self._terms.member}", busy, wanted, int(self._job),
            int(PRESENT * 1000), *(places for _, places in self._terms.holds),
        ]  # fmt: skip
        places, short = await self._hub.run(scripts.HOLD, keys, arguments)
        return int(places), int(short)

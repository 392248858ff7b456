"""Calls and tokens: taken from the buckets of all processes in blocks, used one by one."""

import math
from collections.abc import Callable

from gateway.paces import Learned, Pace, slower
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub
from gateway.shared.terms import Terms, block_of

FRESH = 1.0
"""Seconds that a block may be used; what is left then is forgotten."""
_BURST = 0.25
"""Seconds of its rate that a bucket holds."""
_HALF_A_MINUTE = 30.0
"""Jobs come again when half a block is there: each time costs the store the same."""


class Units:
    """What one gate may send at present; looked at for every call, hence so bare."""

    __slots__ = (
        "_clock", "_fresh_until", "_hub", "_job", "_per", "_purse", "_share", "_terms", "_units",
        "blocked", "calls", "found", "learned", "limited", "tokens",
    )  # fmt: skip

    def __init__(self, terms: Terms, hub: Hub, *, job: bool, clock: Callable[[], float]) -> None:
        self._terms = terms
        self._hub = hub
        self._job = job
        self._clock = clock
        self._units = 0
        self._per = 1
        """Tokens of a call, as was thought of the last one that waited."""
        self._purse = 0.0
        """Tokens that are ours at present; below zero when calls took more than they said."""
        self._fresh_until = 0.0
        self._share: tuple[Pace | None, Pace | None] | None = None
        self.blocked = 0.0
        """Seconds that the store said nobody may go, when it was asked last."""
        self.learned = Learned()
        """What the provider tells."""
        self.found: float | None = None
        """Calls per minute that it was found to bear, where it tells nothing."""
        self.calls: float | None = None
        self.tokens: float | None = None
        self.limited = False
        self.set_pace()

    @property
    def free_to_find(self) -> bool:
        """Whether nobody, neither the operator nor the provider, says how fast it may go."""
        told = self.learned.requests or self.learned.tokens
        return not told and not any(rpm or tpm for _, rpm, tpm in self._terms.buckets)

    @property
    def a_second(self) -> float:
        """Calls of all processes that may go within a second."""
        by_tokens = self.tokens / self._per if self.tokens else math.inf
        return min(self.calls or math.inf, by_tokens) / 60

    def set_pace(self) -> None:
        """Go by what is configured, told and found from now on."""
        calls = tokens = None
        for _, rpm, tpm in self._terms.buckets:
            calls, tokens = slower(calls, rpm or None), slower(tokens, tpm or None)
        self.calls = slower(calls, self.learned.requests)
        self.tokens = slower(tokens, self.learned.tokens)
        if self.found is not None and self.free_to_find:
            self.calls = self.found
        self.limited = bool(self.calls or self.tokens)
        self._share = None

    def has(self, tokens: int) -> bool:
        """Whether a call may go now."""
        if not self.limited:
            return True
        if self._units < 1 or self._clock() > self._fresh_until:
            return False
        return not self.tokens or self._purse >= tokens

    def use(self, tokens: int) -> None:
        """A call goes."""
        self._units -= 1
        self._purse -= tokens

    def give_back(self, tokens: int) -> None:
        """It did not go after all."""
        self._units += 1
        self._purse += tokens

    def spent(self, more: int) -> None:
        """A call took so many tokens more than was thought."""
        if self.tokens:
            self._purse -= more

    def alone(self) -> None:
        """Forget the share of a time without the store."""
        self._share = None

    async def get(self, tokens: int, waiting: int) -> float:
        """Take a block for the first of `waiting` calls; 0, or seconds to wait for one."""
        if self._clock() > self._fresh_until:
            self._units, self._purse = 0, min(self._purse, 0.0)
        self._per = max(tokens, 1)
        per = self._per if self.tokens else 0
        block = block_of(self.calls) if self.calls else block_of((self.tokens or 0.0) / max(per, 1))
        if not self._job:
            block = min(block, waiting)
        self.blocked = 0.0
        try:
            granted, wait = await self._take(block, per)
        except AwayError:
            granted, wait = self._own_share(per)
        if granted < 1:
            return wait
        self._units = max(self._units, granted)
        self._fresh_until = self._clock() + FRESH
        return 0.0

    def rest(self, wait: float) -> float:
        """How long to wait before asking again."""
        if self._job and self.calls:
            return max(wait, block_of(self.calls) / self.calls * _HALF_A_MINUTE)
        return wait

    async def _take(self, want: int, per: int) -> tuple[int, float]:
        """Calls that may go in all, and seconds to wait when there are no more."""
        buckets = [(self._terms.told, 0.0, 0.0), *self._terms.buckets]
        owed = -self._purse if self.tokens else 0.0
        finds = self.found is not None and self.free_to_find
        arguments = [want, self._units, per, owed, int(self._job), int(finds)]
        for _, rpm, tpm in buckets:
            arguments += [rpm, tpm]
        found = await self._hub.run(scripts.TAKE, [key for key, _, _ in buckets], arguments)
        granted, wait, blocked, pace = (int(value) for value in found)
        self.blocked = blocked / 1000
        if finds:
            self._go_at(pace / 1000)
        if granted and self.tokens:
            self._purse += granted * per + owed
        return granted, wait / 1000

    def _go_at(self, found: float) -> None:
        """Note what the pace has grown to; at 0 it is no limit any more."""
        if found and self.found and abs(found - self.found) < 0.05 * self.found:
            return
        self.found = found or None
        self.set_pace()

    def _own_share(self, per: int) -> tuple[int, float]:
        """While the store is away: a part of the limit that is ours alone."""
        if self._share is None:
            part = self._hub.share
            self._share = (
                Pace(self.calls * part, _BURST) if self.calls else None,
                Pace(self.tokens * part, _BURST) if self.tokens else None,
            )
        calls, tokens = self._share
        now = self._clock()
        wait = max((pace.wait(now) for pace in self._share if pace is not None), default=0.0)
        if wait > 0:
            return 0, wait
        if calls is not None:
            calls.take(1, now)
        if tokens is not None:
            tokens.take(max(per - self._purse, 0), now)
            self._purse = max(self._purse, per)
        return 1, 0.0

"""One limit for all processes: what every call to one endpoint passes.

A call that needs nothing from the store passes as through a local gate: at once, without a word to
anybody. The others stand in line, and one task per gate serves the line: it holds places, takes a
block of calls, and lets as many pass as it got.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from typing_extensions import override

from gateway.closure import Closure
from gateway.errors import Outcome, QuotaExhausted
from gateway.http.told import Told
from gateway.limits import LONGEST_BLOCK, WAITING_ROOM, Gate, no_turn
from gateway.shared import tidings
from gateway.shared.hub import Hub, News
from gateway.shared.places import Places
from gateway.shared.refusals import Refusals
from gateway.shared.terms import Terms
from gateway.shared.units import Units
from gateway.window import Window

_PART_THAT_ENDS_SOON = 4
"""Of calls in flight, a fourth."""
_LEAST_REST = 0.002
_LONGEST_REST = 1.0
_TELL_EVERY = 0.25
"""Seconds between two changes of a pace that are told to the others."""


class _Waiter:
    """One call in the line."""

    __slots__ = ("place", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.place: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SharedGate(Gate):
    """The limits of one endpoint, kept together with all other processes."""

    def __init__(
        self,
        terms: Terms,
        hub: Hub,
        *,
        job: bool,
        unknown: bool = False,
        vendor: bool = False,
        max_wait: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = terms.keys
        self._terms = terms
        self._hub = hub
        self._max_wait = max_wait
        self._clock = clock
        self._window = Window(unknown=unknown, clock=clock)
        self._closure = Closure(clock)
        self._units = Units(terms, hub, job=job, clock=clock)
        self._holds = Places(terms, hub, job=job, clock=clock)
        self._refusals = self._hearer() if vendor else None
        self._places = 0
        self._looked = False
        """Whether we know what the others know; before that, nobody passes unasked."""
        self._busy = 0
        self._waiting: deque[_Waiter] = deque()
        self._blocked_until = 0.0
        self._told_at = 0.0
        self._rest = 0.0
        """What the store last said how long to wait."""
        self._changed = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        hub.watch(self)

    def _hearer(self) -> Refusals:
        return Refusals(
            self._terms,
            self._hub,
            self.learn,
            busy=lambda: self._busy,
            kept=lambda: self._units.found is not None,
            clock=self._clock,
        )

    @property
    @override
    def counts(self) -> bool:
        return self._units.tokens is not None

    @property
    def pace(self) -> tuple[float | None, float | None]:
        """Calls and tokens per minute that it goes by; None: as many as come."""
        return self._units.calls, self._units.tokens

    @override
    def enter(self, tokens: int) -> Awaitable[None] | None:
        self._closure.check()
        if self._busy >= self._places or self._waiting or self._blocked_until:
            return self._queued(tokens)
        units = self._units
        if units.limited:
            if not units.has(tokens):
                return self._queued(tokens)
            units.use(tokens)
        self._busy += 1
        return None

    @override
    def leave(self, tokens: int, spent: int | None, outcome: Outcome | None) -> None:
        if spent is not None:
            self._units.spent(spent - tokens)
        if outcome is Outcome.RATE_LIMITED:
            self._window.complained(self._busy)
            self._set_places()
        elif outcome is not None:
            if self._refusals is not None:
                self._refusals.ended(outcome)
            if self._window.engaged:
                self._window.succeeded(self._busy)
                self._set_places()
        self._busy -= 1
        if not self._waiting or self._busy >= self._places:
            return
        if not self._blocked_until and not self._closure.known:
            self._let_pass()  # At once: to wake whoever serves the line costs more.
        if self._waiting and self._busy < self._places:
            self._changed.set()

    @override
    async def block(self, duration: timedelta) -> None:
        seconds = min(duration, LONGEST_BLOCK).total_seconds()
        until = self._clock() + seconds
        if until <= self._blocked_until + _TELL_EVERY:
            return  # The others know.
        self._blocked_until = until
        await tidings.tell(self._hub, News(self._terms.told, blocked=seconds))

    @override
    def refused(self, asked: timedelta | None, ago: float) -> bool:
        if self._refusals is None or not self._units.free_to_find:
            return False
        return self._refusals.hear(asked, ago)

    @override
    def heard(self, told: Told | None) -> None:
        if told is None or not self._units.learned.hear(told):
            return
        self._units.set_pace()
        self._acquainted()
        now = self._clock()
        if now >= self._told_at + _TELL_EVERY:
            self._told_at = now
            learned = self._units.learned
            news = News(
                self._terms.told, requests=learned.requests or 0.0, tokens=learned.tokens or 0.0
            )
            self._hub.let(tidings.tell(self._hub, news), "what was learned")

    @override
    def shut(self, error: QuotaExhausted) -> None:
        if self._closure.reason is not None:
            return
        self._closure.close(error.message)
        self._changed.set()
        telling = tidings.tell_shut(self._hub, self._terms.account, error.message)
        self._hub.let(telling, "an account without quota")

    @property
    @override
    def closed(self) -> str | None:
        return self._closure.reason

    @property
    @override
    def waiting_room(self) -> int:
        # Those who end soon, and those who may go within a second; of all processes together.
        at_once = min(self._holds.most, self._window.places) / _PART_THAT_ENDS_SOON
        of_us = min(at_once, self._units.a_second, WAITING_ROOM * self._hub.processes)
        return max(min(int(of_us / self._hub.processes), WAITING_ROOM), 1)

    # What the hub asks of a watcher.

    def learn(self, news: News) -> None:
        """Take in what another process tells, or this one has found out."""
        units = self._units
        if news.blocked:
            self._blocked_until = max(self._blocked_until, self._clock() + news.blocked)
        if news.requests or news.tokens:
            units.learned.requests = news.requests or units.learned.requests
            units.learned.tokens = news.tokens or units.learned.tokens
        if news.borne:
            units.found = news.borne if news.borne > 0 else None
        if news.requests or news.tokens or news.borne:
            units.set_pace()
            self._acquainted()
        if news.shut:
            self._closure.close(news.why, news.shut)
        if news.wanted and self._holds.limited and (self._holds.held or self._busy):
            self._holds.short = True
            self._holds.look_again()
            self._tend()
        self._changed.set()

    def returned(self) -> None:
        """Ask again for everything: the store is back, and may have forgotten."""
        self._units.alone()
        self._looked = False
        self._set_places()
        self._holds.look_again()
        if self._busy and self._holds.limited:
            self._holds.short = True
            self._tend()
        self._changed.set()

    async def beat(self) -> None:
        """Renew the lease of our places; give back those that nobody needs."""
        if self._refusals is not None:
            self._refusals.beat()
        if self._holds.limited and (self._holds.held or self._busy) and self._holds.wait <= 0:
            await self._hold()

    async def part(self) -> None:
        """Give our places back."""
        if self._holds.limited and self._holds.held:
            self._waiting.clear()
            await self._hold()

    async def bury(self, dead: str) -> None:
        """Free the places of a process that is known to be dead."""
        await self._holds.bury(dead)
        self._changed.set()

    # The line.

    async def _queued(self, tokens: int) -> None:
        if self._max_wait is not None:
            blocked = self._blocked_until - self._clock()
            if blocked > self._max_wait:
                raise no_turn(blocked)
        waiter = _Waiter(tokens)
        self._waiting.append(waiter)
        self._tend()
        try:
            if self._max_wait is None:
                await waiter.place
            else:  # Who does not wait for a turn waits until it is known whether it is his.
                async with asyncio.timeout(self._max_wait or 1.0):
                    await waiter.place
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise no_turn(max(self._rest, 1.0)) from error
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.place.done() and not waiter.place.cancelled() and not waiter.place.exception():
            self._busy -= 1  # It was let pass just as it left.
            if self._units.limited:
                self._units.give_back(waiter.tokens)
            self._changed.set()
            return
        waiter.place.cancel()
        with suppress(ValueError):
            self._waiting.remove(waiter)

    def _tend(self) -> None:
        if self._tending is None or self._tending.done():
            self._changed.clear()
            self._tending = self._hub.start(self._serve(), "line")

    async def _serve(self) -> None:
        """Serve the line until it is empty and nobody waits for our places."""
        while self._waiting or (self._holds.short and self._holds.limited):
            if not self._looked:
                await self._look()
            if self._closure.reason is not None:
                self._turn_away()
            elif (blocked := self._blocked_until - self._clock()) > 0:
                await self._rest_for(blocked)
            elif self._busy >= self._places or not self._waiting:
                await self._get_place()
            elif self._units.has(self._waiting[0].tokens) or await self._get_units():
                self._let_pass()

    async def _look(self) -> None:
        """Learn what the others know already."""
        news = await tidings.look(self._hub, self._terms)
        self._looked = True
        if self._refusals is not None:
            self._refusals.begin()
        if news is not None:
            self.learn(news)
        self._set_places()

    def _let_pass(self) -> None:
        if self._blocked_until <= self._clock():
            self._blocked_until = 0.0
        while self._waiting and self._busy < self._places:
            waiter = self._waiting[0]
            if not waiter.place.done():
                if self._units.limited:
                    if not self._units.has(waiter.tokens):
                        return
                    self._units.use(waiter.tokens)
                self._busy += 1
                waiter.place.set_result(None)
            self._waiting.popleft()

    def _refuse_the_hasty(self, wait: float) -> None:
        """Refuse those who would wait longer than they may, now that it is known."""
        if self._max_wait is None or wait <= self._max_wait:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.place.done():
                waiter.place.set_exception(no_turn(wait))

    def _turn_away(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            try:
                self._closure.check()
            except QuotaExhausted as error:
                if not waiter.place.done():
                    waiter.place.set_exception(error)
        self._holds.short = False

    async def _rest_for(self, seconds: float) -> None:
        """Wait, or until something changes."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    # What it takes to pass.

    def _acquainted(self) -> None:
        """The provider's pace is known: caution is over."""
        self._window.introduced()
        self._set_places()

    def _set_places(self) -> None:
        wide = min(self._holds.held, self._window.places) if self._looked else 0
        if wide > self._places:
            self._changed.set()
        self._places = wide

    async def _get_place(self) -> None:
        """Ask for places when it is time; else wait for one of ours."""
        holds = self._holds
        if not holds.limited:
            await self._rest_for(1.0)
            return
        wanting = bool(self._waiting) and self._busy >= holds.held
        if holds.wait <= 0 or (wanting and not holds.short):
            await self._hold()
            if self._busy < self._places:
                return
        if self._waiting or holds.short:
            await self._rest_for(max(holds.wait, _LEAST_REST))

    async def _hold(self) -> None:
        await self._holds.hold(self._busy, len(self._waiting))
        self._set_places()

    async def _get_units(self) -> bool:
        """Take a block; else wait as long as the store says. Whether there are some now."""
        wait = await self._units.get(self._waiting[0].tokens, len(self._waiting))
        if self._units.blocked:
            until = self._clock() + self._units.blocked
            self._blocked_until = max(self._blocked_until, until)
        if wait <= 0:
            return True
        self._rest = wait
        self._refuse_the_hasty(wait)
        # Not until something changes: every call that ends would ask the store in vain.
        await asyncio.sleep(min(max(self._units.rest(wait), _LEAST_REST), _LONGEST_REST))
        return False

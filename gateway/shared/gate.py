"""One limit for all processes: calls and tokens in blocks, places on a lease, news for all.

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

import msgspec
from typing_extensions import override

from gateway.closure import CLOSED_SECONDS, Closure
from gateway.errors import Outcome, QuotaExhausted
from gateway.http.told import Told
from gateway.limits import LONGEST_BLOCK, Gate, no_turn
from gateway.paces import Learned, Pace, slower
from gateway.shared import scripts
from gateway.shared.hub import PRESENT, AwayError, Hub, News
from gateway.shared.terms import Terms, block_of
from gateway.window import NO_LIMIT, Window

FRESH = 1.0
"""Seconds that a block may be used; what is left then is forgotten."""
_HOLD_EVERY = 0.2
"""Seconds between two looks at the places while there are not enough for all."""
_BURST = 0.25
"""Seconds of its rate that a bucket holds."""
_LEAST_REST = 0.002
_LONGEST_REST = 1.0
_HALF_A_MINUTE = 30.0
"""Jobs come again when half a block is there: each time costs the store the same."""
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
        max_wait: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = terms.keys
        self._terms = terms
        self._hub = hub
        self._job = job
        self._max_wait = max_wait
        self._clock = clock
        self._window = Window(unknown=unknown, clock=clock)
        self._learned = Learned()
        self._closure = Closure(clock)
        self._calls: float | None = None
        self._tokens: float | None = None
        self.counts = False
        self._set_pace()
        self._most = min((places for _, places in terms.holds), default=NO_LIMIT)
        self._held = 0 if terms.holds else NO_LIMIT
        """Places that are ours at present."""
        self._short = False
        """Whether others, or we, wait for places."""
        self._places = 0
        self._looked = False
        """Whether we know what the others know; before that, nobody passes unasked."""
        self._busy = 0
        self._waiting: deque[_Waiter] = deque()
        self._units = 0
        self._purse = 0.0
        """Tokens that are ours at present; below zero when calls took more than they said."""
        self._fresh_until = 0.0
        self._blocked_until = 0.0
        self._hold_at = 0.0
        self._told_at = 0.0
        self._rest = 0.0
        """What the store last said how long to wait."""
        self._changed = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._share: tuple[Pace | None, Pace | None] | None = None
        hub.watch(self)

    @override
    def enter(self, tokens: int) -> Awaitable[None] | None:
        self._closure.check()
        if self._busy >= self._places or self._waiting or self._blocked_until:
            return self._queued(tokens)
        if self._calls or self._tokens:
            if not self._has_unit(tokens):
                return self._queued(tokens)
            self._units -= 1
            self._purse -= tokens
        self._busy += 1
        return None

    @override
    def leave(self, tokens: int, spent: int | None, outcome: Outcome | None) -> None:
        if self._tokens and spent is not None:
            self._purse -= spent - tokens
        if outcome is Outcome.RATE_LIMITED:
            self._window.complained(self._busy)
            self._set_places()
        elif self._window.engaged and outcome is not None:
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
        await self._tell(News(self._terms.told, blocked=seconds))

    @override
    def heard(self, told: Told | None) -> None:
        if told is None or not self._learned.hear(told):
            return
        self._set_pace()
        now = self._clock()
        if now >= self._told_at + _TELL_EVERY:
            self._told_at = now
            learned = self._learned
            news = News(
                self._terms.told, requests=learned.requests or 0.0, tokens=learned.tokens or 0.0
            )
            self._hub.let(self._tell(news), "what was learned")

    @override
    def shut(self, error: QuotaExhausted) -> None:
        if self._closure.reason is not None:
            return
        self._closure.close(error.message)
        self._changed.set()
        self._hub.let(self._tell_shut(error.message), "an account without quota")

    @property
    @override
    def closed(self) -> str | None:
        return self._closure.reason

    # What the hub asks of a watcher.

    def learn(self, news: News) -> None:
        """Take in what another process tells."""
        if news.blocked:
            self._blocked_until = max(self._blocked_until, self._clock() + news.blocked)
        if news.requests or news.tokens:
            self._learned.requests = news.requests or self._learned.requests
            self._learned.tokens = news.tokens or self._learned.tokens
            self._set_pace()
            self._window.introduced()
            self._set_places()
        if news.shut:
            self._closure.close(news.why, news.shut)
        if news.wanted and self._terms.holds and (self._held or self._busy):
            self._short = True
            self._hold_at = 0.0
            self._tend()
        self._changed.set()

    def returned(self) -> None:
        """Ask again for everything: the store is back, and may have forgotten."""
        self._share = None
        self._looked = False
        self._set_places()
        self._hold_at = 0.0
        if self._busy and self._terms.holds:
            self._short = True
            self._tend()
        self._changed.set()

    async def beat(self) -> None:
        """Renew the lease of our places; give back those that nobody needs."""
        if self._terms.holds and (self._held or self._busy) and self._clock() >= self._hold_at:
            await self._hold()

    async def part(self) -> None:
        """Give our places back."""
        if self._terms.holds and self._held:
            self._waiting.clear()
            await self._hold()

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
            # Those who do not wait for their turn wait until it is known whether it is theirs.
            async with asyncio.timeout(self._max_wait or (None if self._max_wait is None else 1.0)):
                await waiter.place
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise no_turn(max(self._rest, 1.0)) from error
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.place.done() and not waiter.place.cancelled() and not waiter.place.exception():
            self._busy -= 1  # It was let pass just as it left.
            if self._calls or self._tokens:
                self._units += 1
                self._purse += waiter.tokens
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
        while self._waiting or (self._short and self._terms.holds):
            if not self._looked:
                await self._look()
            if self._closure.reason is not None:
                self._turn_away()
            elif (blocked := self._blocked_until - self._clock()) > 0:
                await self._rest_for(blocked)
            elif self._busy >= self._places or not self._waiting:
                await self._get_place()
            elif self._has_unit(self._waiting[0].tokens) or await self._get_units():
                self._let_pass()

    def _let_pass(self) -> None:
        if self._blocked_until <= self._clock():
            self._blocked_until = 0.0
        while self._waiting and self._busy < self._places:
            waiter = self._waiting[0]
            if not waiter.place.done():
                if self._calls or self._tokens:
                    if not self._has_unit(waiter.tokens):
                        return
                    self._units -= 1
                    self._purse -= waiter.tokens
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
        self._short = False

    async def _rest_for(self, seconds: float) -> None:
        """Wait, or until something changes."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    # Places.

    def _set_places(self) -> None:
        wide = min(self._held, self._window.places) if self._looked else 0
        if wide > self._places:
            self._changed.set()
        self._places = wide

    async def _get_place(self) -> None:
        """Ask for places when it is time; else wait for one of ours."""
        if self._terms.holds:
            wanting = bool(self._waiting) and self._busy >= self._held
            if self._clock() >= self._hold_at or (wanting and not self._short):
                await self._hold()
                if self._busy < self._places:
                    return
            if not self._waiting and not self._short:
                return
            await self._rest_for(max(self._hold_at - self._clock(), _LEAST_REST))
        else:
            await self._rest_for(1.0)

    async def _hold(self) -> None:
        """Say how many places we have and want, and hear how many are ours."""
        wanted = min(self._busy + len(self._waiting), self._most)
        if self._waiting and not self._short:
            wanted = min(wanted + wanted // 4, self._most)
        keys = [key for key, _ in self._terms.holds]
        arguments = [
            f"{self._hub.me}:{self._terms.member}", self._busy, wanted, int(self._job),
            int(PRESENT * 1000), *(places for _, places in self._terms.holds),
        ]  # fmt: skip
        before = self._short
        try:
            places, short = await self._hub.run(scripts.HOLD, keys, arguments)
        except AwayError:
            share = max(int(self._most * self._hub.share), 1)
            places, short = min(share, max(wanted, 1)), 1
        self._held = int(places)
        self._short = bool(short) and bool(self._busy or self._waiting)
        self._hold_at = self._clock() + (_HOLD_EVERY if self._short else PRESENT / 5)
        self._set_places()
        if self._short and not before and self._held < wanted:
            for key in keys:
                self._hub.let(self._hub.tell(News(key, wanted=True)), "places wanted")

    # Calls and tokens.

    def _set_pace(self) -> None:
        calls = tokens = None
        for _, rpm, tpm in self._terms.buckets:
            calls, tokens = slower(calls, rpm or None), slower(tokens, tpm or None)
        self._calls = slower(calls, self._learned.requests)
        self._tokens = slower(tokens, self._learned.tokens)
        self.counts = self._tokens is not None
        self._share = None

    def _has_unit(self, tokens: int) -> bool:
        if not self._calls and not self._tokens:
            return True
        if self._units < 1 or self._clock() > self._fresh_until:
            return False
        return not self._tokens or self._purse >= tokens

    async def _get_units(self) -> bool:
        """Take a block; else wait as long as the store says. Whether there are some now."""
        if self._clock() > self._fresh_until:
            self._units, self._purse = 0, min(self._purse, 0.0)
        per = max(self._waiting[0].tokens, 1) if self._tokens else 0
        block = block_of(self._calls) if self._calls else block_of((self._tokens or 0.0) / per)
        if not self._job:
            block = min(block, len(self._waiting))
        try:
            granted, wait = await self._take(block, per)
        except AwayError:
            granted, wait = self._own_share(per)
        if granted < 1:
            self._rest = wait
            self._refuse_the_hasty(wait)
            if self._job and self._calls:
                wait = max(wait, block / self._calls * _HALF_A_MINUTE)
            # Not until something changes: every call that ends would ask the store in vain.
            await asyncio.sleep(min(max(wait, _LEAST_REST), _LONGEST_REST))
            return False
        self._units = max(self._units, granted)
        self._fresh_until = self._clock() + FRESH
        return True

    async def _take(self, want: int, per: int) -> tuple[int, float]:
        """Calls that may go in all, and seconds to wait when there are no more."""
        buckets = [(self._terms.told, 0.0, 0.0), *self._terms.buckets]
        owed = -self._purse if self._tokens else 0.0
        arguments = [want, self._units, per, owed, int(self._job)]
        for _, rpm, tpm in buckets:
            arguments += [rpm, tpm]
        found = await self._hub.run(scripts.TAKE, [key for key, _, _ in buckets], arguments)
        granted, wait, blocked = (int(value) for value in found)
        if blocked:
            self._blocked_until = max(self._blocked_until, self._clock() + blocked / 1000)
        if granted and self._tokens:
            self._purse += granted * per + owed
        return granted, wait / 1000

    def _own_share(self, per: int) -> tuple[int, float]:
        """While the store is away: a part of the limit that is ours alone."""
        if self._share is None:
            part = self._hub.share
            self._share = (
                Pace(self._calls * part, _BURST) if self._calls else None,
                Pace(self._tokens * part, _BURST) if self._tokens else None,
            )
        calls, tokens = self._share
        now = self._clock()
        wait = max(pace.wait(now) if pace else 0.0 for pace in self._share)
        if wait > 0:
            return 0, wait
        if calls is not None:
            calls.take(1, now)
        if tokens is not None:
            tokens.take(max(per - self._purse, 0), now)
            self._purse = max(self._purse, per)
        return 1, 0.0

    # What all know.

    async def _look(self) -> None:
        """Learn what the others know already."""
        try:
            keys = [self._terms.told, self._terms.account]
            blocked, calls, tokens, shut, why = await self._hub.run(scripts.LOOK, keys, [])
        except AwayError:
            self._looked = True
            self._set_places()
            return
        self._looked = True
        self.learn(
            News(
                self._terms.told,
                blocked=int(blocked) / 1000,
                requests=float(calls),
                tokens=float(tokens),
                shut=int(shut) / 1000,
                why=why.decode("utf-8", "replace"),
            )
        )
        self._set_places()

    async def _tell(self, news: News) -> None:
        arguments = [
            int(news.blocked * 1000), news.requests, news.tokens, msgspec.json.encode(news),
        ]  # fmt: skip
        with suppress(AwayError):
            await self._hub.run(scripts.TELL, [news.key, self._hub.channel], arguments)

    async def _tell_shut(self, message: str) -> None:
        news = News(self._terms.account, shut=CLOSED_SECONDS, why=message[:500])
        arguments = [int(CLOSED_SECONDS * 1000), news.why, msgspec.json.encode(news)]
        with suppress(AwayError):
            await self._hub.run(scripts.SHUT, [self._terms.account, self._hub.channel], arguments)

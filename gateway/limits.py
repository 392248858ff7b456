"""How fast an endpoint may be asked: concurrency, calls and tokens per minute, its own word."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from typing_extensions import override

from gateway.closure import Closure
from gateway.config import Rates
from gateway.errors import NoTurn, Outcome, QuotaExhausted
from gateway.http.told import Told
from gateway.paces import BURST_SECONDS, Learned, Pace, slower
from gateway.types import JSONObject
from gateway.window import NO_LIMIT, Window

LONGEST_BLOCK = timedelta(seconds=60)
"""However long a `Retry-After` is, someone asks again after this."""
MOST_CALLERS = 10_000
"""Callers whose limits are kept at once; those not seen the longest are forgotten."""
WAITING_ROOM = 16
"""Calls in line at a gate that lets many pass."""
_ANSWER_TOKENS = 256
"""Expected of an answer that has no limit of its own."""
_BYTES_PER_TOKEN = 4


class Gate(Protocol):
    """What every call to one endpoint passes; a shared store can stand behind it."""

    @property
    def counts(self) -> bool:
        """Whether it wants to know beforehand how many tokens a call may take."""
        return False

    def enter(self, tokens: int) -> Awaitable[None] | None:
        """Let a call of about so many tokens go: None at once, else when that was awaited.

        Raises (at once or when awaited):
            NoTurn: It would have to wait too long.
            QuotaExhausted: The account has nothing left; nobody is asked for a while.
        """
        ...

    def leave(self, tokens: int, spent: int | None, outcome: Outcome | None) -> None:
        """Give the place back.

        Args:
            tokens: As given to `enter`.
            spent: Tokens in and out as the provider counted them; None when it did not say.
            outcome: How the call ended; None when it was not made, or given up.
        """
        ...

    async def block(self, duration: timedelta) -> None:
        """Hold everyone back: the provider asked for patience."""
        ...

    def refused(self, asked: timedelta | None, ago: float) -> bool:  # noqa: ARG002
        """Note that a call was answered 429: too fast.

        Args:
            asked: The patience that the provider asks for.
            ago: Seconds since the call went.

        Returns:
            Whether it is a matter of the pace, and nothing is to follow from it for the calls at
            once: `leave` is then told of no outcome.
        """
        return False

    def heard(self, told: Told | None) -> None:
        """Note what a reply said of the provider's limits."""

    def shut(self, error: QuotaExhausted) -> None:
        """Let nobody pass for a while: the account behind the endpoint has nothing left."""

    @property
    def closed(self) -> str | None:
        """Why nobody passes at present; None when they do."""
        return None

    @property
    def waiting_room(self) -> int:
        """How many calls of this process in line keep it busy; more would only wait there."""
        return WAITING_ROOM


class LocalGate(Gate):
    """Limits of one process."""

    def __init__(
        self,
        limits: Rates,
        *,
        unknown: bool = False,
        max_wait: float | None = None,
        burst: float = BURST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._burst = burst
        self._most = limits.concurrency or NO_LIMIT
        self._window = Window(unknown=unknown, clock=clock)
        self._places = min(self._most, self._window.places)
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._learned = Learned()
        self._calls = Pace(limits.rpm, burst) if limits.rpm else None
        self._tokens = Pace(limits.tpm, burst) if limits.tpm else None
        self._max_wait = max_wait
        self._clock = clock
        self._sleep = sleep
        self._blocked_until = 0.0
        self._closure = Closure(clock)

    @property
    @override
    def counts(self) -> bool:
        return self._tokens is not None

    @override
    def enter(self, tokens: int) -> Awaitable[None] | None:
        self._closure.check()
        if self._busy >= self._places or self._waiting:
            return self._queued(tokens)
        if (self._calls or self._tokens or self._blocked_until) and (turn := self._turn(tokens)):
            self._busy += 1
            return self._rested(turn)
        self._busy += 1
        return None

    def enter_at_once(self, tokens: int) -> None:
        """As `enter`, for those who do not wait.

        Raises:
            NoTurn: It is not their turn.
        """
        if self._busy >= self._places:
            raise no_turn(BURST_SECONDS)
        if self._calls or self._tokens:
            self._turn(tokens)
        self._busy += 1

    @override
    def leave(self, tokens: int, spent: int | None, outcome: Outcome | None) -> None:
        if self._tokens is not None and spent is not None:
            self._tokens.correct(spent - tokens)
        if outcome is Outcome.RATE_LIMITED:
            self._window.complained(self._busy)
            self._places = min(self._most, self._window.places)
        elif self._window.engaged and outcome is not None:
            self._window.succeeded(self._busy)
            self._places = min(self._most, self._window.places)
        self._busy -= 1
        if self._waiting:
            self._hand_over()

    @override
    async def block(self, duration: timedelta) -> None:
        until = self._clock() + min(duration, LONGEST_BLOCK).total_seconds()
        self._blocked_until = max(self._blocked_until, until)

    @override
    def heard(self, told: Told | None) -> None:
        if told is None or not self._learned.hear(told):
            return
        rpm = slower(self._limits.rpm, self._learned.requests)
        tpm = slower(self._limits.tpm, self._learned.tokens)
        self._calls = self._at_pace(self._calls, rpm)
        self._tokens = self._at_pace(self._tokens, tpm)
        self._window.introduced()
        self._places = min(self._most, self._window.places)

    @override
    def shut(self, error: QuotaExhausted) -> None:
        self._closure.close(error.message)

    @property
    @override
    def closed(self) -> str | None:
        return self._closure.reason

    def _at_pace(self, pace: Pace | None, per_minute: float | None) -> Pace | None:
        if per_minute is None:
            return None
        if pace is None:
            return Pace(per_minute, self._burst)
        pace.change(per_minute)
        return pace

    def _turn(self, tokens: int) -> float:
        """Seconds until this call's turn, which is taken.

        Raises:
            NoTurn: It is too far away; nothing is taken.
        """
        now = self._clock()
        wait = self._blocked_until - now
        if wait <= 0:
            self._blocked_until = wait = 0.0
        if self._calls is not None:
            wait = max(wait, self._calls.wait(now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(now))
        if self._max_wait is not None and wait > self._max_wait:
            raise no_turn(wait)
        if self._calls is not None:
            self._calls.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        return wait

    async def _queued(self, tokens: int) -> None:
        """Wait for a place, then for the turn."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._max_wait):
                await place
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise no_turn(self._max_wait or 0.0) from error
            raise
        # The place was handed over by the one who left: it is ours already.
        try:
            self._closure.check()
            if (turn := self._turn(tokens)) > 0:
                await self._until(turn)
        except BaseException:
            self._give_place()
            raise

    async def _rested(self, seconds: float) -> None:
        try:
            await self._until(seconds)
        except BaseException:
            self._give_place()
            raise

    async def _until(self, seconds: float) -> None:
        await self._sleep(seconds)
        while (wait := self._blocked_until - self._clock()) > 0:
            await self._sleep(wait)

    def _give_place(self) -> None:
        self._busy -= 1
        if self._waiting:
            self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and self._busy < self._places:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._busy += 1

    def _give_up(self, place: "asyncio.Future[None]") -> None:
        if place.done() and not place.cancelled():
            self._give_place()  # It was handed over just as its owner left.
            return
        place.cancel()
        if place in self._waiting:
            self._waiting.remove(place)


class Callers(Protocol):
    """One gate per caller: what each may ask of one endpoint; beyond it, no waiting."""

    def enter(self, caller: str, tokens: int) -> "Gate | Awaitable[Gate]":
        """Count a call; the gate is to be left by the caller of this.

        Raises (at once or when awaited):
            NoTurn: The caller has had its share.
        """
        ...


class CallerGates(Callers):
    """The gates of one process."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._gates: OrderedDict[str, LocalGate] = OrderedDict()

    @override
    def enter(self, caller: str, tokens: int) -> LocalGate:
        gate = self._gates.get(caller)
        if gate is None:
            gate = self._gates[caller] = LocalGate(self._rates, max_wait=0.0)
            if len(self._gates) > MOST_CALLERS:
                self._gates.popitem(last=False)
        self._gates.move_to_end(caller)
        gate.enter_at_once(tokens)
        return gate


def estimated_tokens(body: JSONObject) -> int:
    """About how many tokens a request will take, in and out.

    Four bytes of UTF-8 make a token: close for English and code, a little low for Japanese; what
    the provider counts corrects it.
    """
    said = sum(_length(body.get(key)) for key in ("messages", "prompt", "input"))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    answer = limit if isinstance(limit, int) else 0 if "input" in body else _ANSWER_TOKENS
    return said // _BYTES_PER_TOKEN + answer


def _length(value: object) -> int:
    """Bytes of all text inside."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum(_length(item) for item in value)
    if isinstance(value, dict):
        return sum(_length(item) for key, item in value.items() if key != "image_url")
    return 0


def no_turn(seconds: float) -> NoTurn:
    """A refusal that says when to come again."""
    return NoTurn(
        f"the limits of this gateway leave no turn within {seconds:.3g} s",
        retry_after=timedelta(seconds=seconds),
    )

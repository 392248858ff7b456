"""What all processes learn together from a provider that only refuses: the pace that it bears."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import msgspec

from gateway.borne import ENOUGH, Borne, Sample, doubted, refused
from gateway.errors import Outcome
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub, News
from gateway.shared.terms import Terms

_REMEMBERED = 60
"""Beats: what was answered in the last minute or so is the first estimate."""
_AGAIN = 5.0
"""Seconds until it is asked again whether refusals are about the pace."""
_TRIES = 8
_ILL = 0.1
"""Of the calls answered lately: failed for other reasons, and the provider is not in order."""
_LATELY = 3
"""Beats: where so many calls have failed in them ..."""
_TWO = 2
"""... or one in all that are remembered."""
ONSET = 10.0
"""Seconds before that was seen: what refusals said in them is doubted too."""
_DEAF = 30.0
"""Seconds after a doubt."""
_FAILED = frozenset({Outcome.TIMEOUT, Outcome.PROVIDER_ERROR, Outcome.MALFORMED})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Borne).decode


class Refusals:
    """Those that one gate hears of."""

    def __init__(
        self,
        terms: Terms,
        hub: Hub,
        learn: Callable[[News], None],
        *,
        busy: Callable[[], int],
        kept: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """Begin.

        Args:
            terms: Where the endpoint's pace is kept.
            hub: The line to the store.
            learn: Told what was found out.
            busy: How many calls are in flight.
            kept: Whether a pace is kept that was found out.
            clock: In seconds.
        """
        self._terms = terms
        self._hub = hub
        self._learn = learn
        self._busy = busy
        self._kept = kept
        self._clock = clock
        self._begun: float | None = None
        self._beats: deque[tuple[float, int, int]] = deque(maxlen=_REMEMBERED)
        self._deaf_until = 0.0
        self._one_by_one = asyncio.Lock()
        self._answered = 0
        """Calls that were not refused."""
        self._failed = 0
        """Those of them that came to nothing."""

    def begin(self) -> None:
        """The first call is about to go."""
        if self._begun is None:
            self._begun = self._clock()
            self._beats.append((self._begun, self._answered, self._failed))

    def ended(self, outcome: Outcome) -> None:
        """Note a call that was not refused."""
        self._answered += 1
        self._failed += outcome in _FAILED

    def beat(self) -> None:
        """Note how many calls were answered by now."""
        if self._begun is not None:
            if len(self._beats) > 1 and self._beats[0][1] == self._beats[1][1]:
                self._beats.popleft()  # Nobody asked then: this says nothing of what is borne.
            self._beats.append((self._clock(), self._answered, self._failed))
        if self._kept() and (ill_since := self._ill_since()) is not None:
            self._hub.let(self._doubt(ill_since), "a doubt")

    def hear(self, asked: timedelta | None, ago: float) -> bool:
        """A call that went `ago` seconds before was refused. Whether that is about the pace.

        It is not where no patience is asked for, nor where other calls fail as well: a pace found
        out in a storm would be kept long after it.
        """
        if self._hub.away or self._clock() < self._deaf_until or self._ill_since() is not None:
            return False
        seconds = None if asked is None else asked.total_seconds()
        if seconds == 0:
            return False
        self._hub.let(self._report(seconds, ago), "a refusal")
        return True

    def _ill_since(self) -> float | None:
        """Since when a tenth of the calls may fail for other reasons; None: fewer do."""
        if not self._beats:
            return None
        for beat, least in ((0, 1), (max(len(self._beats) - _LATELY, 0), _TWO)):
            at, answered, failed = self._beats[beat]
            failures = self._failed - failed
            if failures >= least and failures > _ILL * (self._answered - answered):
                return at - ONSET
        return None

    async def _report(self, asked: float | None, ago: float) -> None:
        with suppress(AwayError):
            async with self._one_by_one:
                for _ in range(_TRIES):
                    if await self._told(asked, ago):
                        return

    async def _told(self, asked: float | None, ago: float) -> bool:
        """Judge it by what is known, and let all know; False: somebody else was quicker."""
        key = self._terms.told
        stamp, raw, let_through, idle = await self._hub.run(scripts.RECALL, [key], [])
        now, before = int(stamp) / 1000, _decode(raw) if raw else None
        if before is None or not before.level:
            sample = self._lately()
        else:
            wanted = max(now - before.since - float(idle) / 1000, 0.0)
            sample = Sample(int(let_through) - 1, wanted)
        after = refused(before, now=now, sent=now - ago, asked=asked, sample=sample)
        if after is None:
            if sample.calls >= ENOUGH:
                self._deaf_until = self._clock() + _AGAIN
            return True
        return await self._remembered(raw, before, after, now)

    async def _doubt(self, ill_since: float) -> None:
        """Forget what refusals said while other calls failed too, and nobody knew that yet."""
        ill_for = self._clock() - ill_since
        with suppress(AwayError):
            stamp, raw, _, _ = await self._hub.run(scripts.RECALL, [self._terms.told], [])
            now = int(stamp) / 1000
            before = _decode(raw) if raw else None
            after = doubted(before, now=now, ill_since=now - ill_for) if before else None
            if after is not None and await self._remembered(raw, before, after, now):
                self._deaf_until = self._clock() + _DEAF  # Whatever the store forgets.

    async def _remembered(self, raw: bytes, before: Borne | None, after: Borne, now: float) -> bool:
        """Let all know; False: somebody else was quicker."""
        key = self._terms.told
        news = News(key, blocked=max(after.since - now, 0.0), borne=after.level * 60 or -1.0)
        counts_anew = before is None or after.cut_at != before.cut_at
        arguments = [
            raw, _encode(after), after.level, after.depth, after.span, int(after.since * 1000),
            int(counts_anew), _encode(news),
        ]  # fmt: skip
        (done,) = await self._hub.run(scripts.REMEMBER, [key, self._hub.channel], arguments)
        if int(done):
            self._learn(news)
        return bool(int(done))

    def _lately(self) -> Sample:
        """What all processes together let through, as if the others had let through as many."""
        now = self._clock()
        if not self._beats:
            return Sample(0, 0.0)
        since, before, _ = self._beats[0]
        let_through = self._answered - before + self._busy()
        return Sample(let_through * self._hub.processes, now - since)

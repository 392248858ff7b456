"""The pace that a provider bears, found out from nothing but its refusals.

Between two refusals, what was let through is what the provider allows: it had nothing left at
either of them. That is the level. The pace then begins a little below it, comes back to it, stays
about there for a minute, and goes on to grow faster and faster until the provider refuses again:
one call now and then is the price of noticing that a limit was raised.

What is known of few calls is soon tried again, where it is much less than was known before: a
provider that refused at random for a few seconds looks the same as one that lowered its limit.

Refusals that go on at a pace which was borne before are not about the pace. They are left to the
window of calls at once, and this law is deaf to them for a while.
"""

import math

import msgspec
from msgspec.structs import replace

ENOUGH = 20
"""Calls let through within a minute: after fewer, a refusal says nothing of the pace."""
LEAST = 0.5
"""Calls per second: a slower pace is not kept. Patience and the window of calls at once do it."""
FIRST_DEPTH = 0.25
_FEW = 30
_BRIEF = 3.0
"""Calls, seconds: what is known of fewer, or of a shorter time, is rough ..."""
_ROUGH_SPAN = 5.0
"""... and held for so many seconds only, or the time of as many calls ..."""
_FELL = 0.8
"""... if it is less than that part of what was known before ..."""
_EXACT = 1.0
"""... but not where a provider asks for less than a second of patience: it knows what it has."""
_SAVED = 60.0
"""Seconds of its pace that a provider may have saved up when it refuses for the first time."""
_DEEPEST, _FLATTEST = 0.4, 0.03
_NOISE = 1.5
"""Calls by which a count may be wrong."""
_SPAN = 60.0
"""Seconds until the pace is at the level again, when that is well known."""
_SPAN_CALLS = 100
"""... and at least the time of so many calls."""
LONGEST_SPAN = 600.0
PAUSE = 0.5
"""Seconds of silence where the provider does not say how many, doubled while they do not do."""
LONGEST_GUESS = 10.0
LONGEST_PAUSE = 60.0
_SOLID = 150
"""Calls in a row that prove a pace."""
_ABYSS = 0.3
"""Of a proved pace: refusals that go on below that are not about the pace."""
_MEMORY = 0.95
_MEMORY_EARLY = 0.8
"""Of refusals that came early, after one that did not."""
_OFTEN = 3.0
_OFTEN_AGAIN = 2.5
_SELDOM = 15.0
"""Calls between two refusals: fewer, many times in a row, and the pace is not what they mean."""
_RARE = 600.0
"""... and more: they cost next to nothing, whatever they mean."""
_EARLY = 0.25
"""Of the span: there the pace is well below the level, and a limit has nothing to refuse."""
_EARLY_MOST = 7.0
_EARLY_MOST_AGAIN = 2.5
"""Refusals so early, of late: more, and they come whatever the pace is."""
_DEAF = 30.0
_DEAFEST = 600.0
_KEPT = 0.5
"""Of what the level was made of before: one short stretch says little."""
_KEPT_EARLY = 0.3
"""... and where it was wrong, what it was made of says less still."""
_EARLIER = 0.9
FORGOTTEN = 16.0
"""Times the level: a pace that has grown so far is no limit any more."""


class Sample(msgspec.Struct, frozen=True):
    """What was let through since the last refusal."""

    calls: float
    """Those that were refused are not among them."""
    seconds: float
    """In which calls were wanted."""


class Borne(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one provider's pace; times are those of one clock."""

    level: float
    """Calls per second; 0: no pace is kept."""
    depth: float
    span: float
    since: float
    """When the pause after the last refusal ends, and the count begins."""
    cut_at: float
    """When that refusal was heard of: calls that went before are part of the same."""
    pause: float
    last: Sample
    """What the level was made of."""
    peak: float
    """What was borne before refusals came one upon the other."""
    found_at: float = 0.0
    """When no pace was kept before."""
    first: bool = True
    """Whether there was no refusal before: the provider may have had calls saved up."""
    deaf_until: float = 0.0
    deaf: float = 0.0
    """Seconds; the next time twice as long."""

    heard: float = 0.0
    """Refusals lately ..."""
    between: float = 0.0
    """... and what was let through between them."""
    early: float = 0.0
    """Those of them that came while the pace was well below what had been borne."""

    @property
    def in_vain(self) -> bool:
        """Whether refusals come one upon the other, however the pace is changed."""
        often, early = (_OFTEN_AGAIN, _EARLY_MOST_AGAIN) if self.deaf else (_OFTEN, _EARLY_MOST)
        crowded = self.heard > often and self.between < self.heard * _SELDOM
        return crowded or (self.early > early and self.between < self.heard * _RARE)

    def pace(self, seconds: float) -> float:
        """Calls per second after so many seconds in which calls were wanted; 0: as many as come."""
        if not self.level:
            return 0.0
        pace = self.level * (1 + self.depth * ((seconds - self.span) / self.span) ** 3)
        return pace if pace < self.level * FORGOTTEN else 0.0


def refused(
    before: Borne | None, *, now: float, sent: float, asked: float | None, sample: Sample
) -> Borne | None:
    """What is known after a refusal; None: it is not about the pace.

    Args:
        before: What was known.
        now: When it is heard of.
        sent: When the call went that was refused.
        asked: Seconds of patience that the provider asks for; None when it does not say.
        sample: Since the last refusal; where none is known, of the last minute at most.
    """
    if before is None or not before.level or not before.pace(sample.seconds):
        if sample.calls < ENOUGH or (before is not None and now < before.deaf_until):
            return None
        found = replace(_found(now, asked, sample), found_at=now)
        return replace(found, deaf=before.deaf) if before is not None else found
    if sent <= before.cut_at or now < before.since:
        return _corrected(before, now, asked)
    # Those that went after it are not answered yet.
    calls = sample.calls - before.pace(sample.seconds) * (now - sent)
    if calls < 1:
        return _waited(before, now, asked)
    return _judged(before, now, asked, Sample(calls, sample.seconds))


def doubted(before: Borne, *, now: float, ill_since: float) -> Borne | None:
    """What is known when other calls fail as well; None: as before.

    A pace that was kept before that is kept on, as it was proved last. One that was found meanwhile
    says nothing.
    """
    if not before.level or before.cut_at < ill_since:
        return None
    if before.found_at >= ill_since:
        return replace(before, level=0.0, deaf_until=now + _DEAF)
    if before.level >= before.peak:
        return None
    seconds = before.last.seconds
    return replace(before, level=before.peak, last=Sample(before.peak * seconds, seconds))


def _found(now: float, asked: float | None, sample: Sample) -> Borne:
    pause = PAUSE if asked is None else min(asked, LONGEST_PAUSE)
    whole = Sample(max(sample.calls, 1.0), max(sample.seconds, 0.0) + max(pause, 0.01))
    level = whole.calls / whole.seconds
    span = _span(level, FIRST_DEPTH, rough=sample.calls < _FEW)
    return Borne(
        level=level, depth=FIRST_DEPTH, span=span, since=now + pause, cut_at=now,
        pause=max(pause, PAUSE), last=whole,
        peak=whole.calls / (whole.seconds + _SAVED) if sample.calls >= _SOLID else 0.0,
    )  # fmt: skip


def _corrected(before: Borne, now: float, asked: float | None) -> Borne:
    """A refused call was counted as let through."""
    since = max(before.since, now + min(asked or 0.0, LONGEST_PAUSE))
    return _less(before, calls=1.0, since=since)


def _waited(before: Borne, now: float, asked: float | None) -> Borne:
    """The pause was too short: nothing was let through since."""
    longest = LONGEST_PAUSE if asked else LONGEST_GUESS
    pause = max(min(2 * before.pause, longest), min(asked or 0.0, LONGEST_PAUSE))
    found = _less(before, calls=0.0, since=now + pause)
    return replace(found, cut_at=now, pause=max(pause, PAUSE))


def _less(before: Borne, *, calls: float, since: float) -> Borne:
    old = before.last
    last = Sample(max(old.calls - calls, 1.0), old.seconds + since - before.since)
    level = before.level * (last.calls / last.seconds) / (old.calls / old.seconds)
    peak = before.peak * level / before.level
    return replace(before, level=level, since=since, last=last, peak=peak)


def _judged(before: Borne, now: float, asked: float | None, sample: Sample) -> Borne:
    """A whole stretch lies between two refusals: what was let through in it is the level.

    Unless the pace was below the level for so long that the provider had calls to spare: then it
    is what the pace was a little while ago.
    """
    pace = before.pace(sample.seconds)
    found = _found(now, asked, sample)
    is_early = sample.seconds < before.span * _EARLY
    if not before.first:
        part = _KEPT_EARLY if is_early else _KEPT
        kept = Sample(before.last.calls * part, before.last.seconds * part)
        whole = Sample(found.last.calls + kept.calls, found.last.seconds + kept.seconds)
    else:
        whole = found.last
    level = whole.calls / whole.seconds
    depth = _NOISE / whole.calls
    if sample.seconds > before.span:
        level = max(level, before.pace(_EARLIER * sample.seconds))
        depth = max(depth, 1 - level / pace)
    depth = min(max(depth, _FLATTEST), _DEEPEST)
    is_little = sample.calls < _FEW or found.last.seconds < _BRIEF
    is_told = asked is not None and found.last.seconds < _EXACT
    fell = level < before.level * _FELL
    span = _span(level, depth, rough=is_little and fell and not is_told)
    found = replace(
        found, level=level, depth=depth, span=span, last=whole, first=False,
        peak=level if sample.calls >= _SOLID else max(before.peak, level), deaf=before.deaf,
        heard=before.heard * _MEMORY + 1, between=before.between * _MEMORY + sample.calls,
        early=before.early * _MEMORY + 1 if is_early else before.early * _MEMORY_EARLY,
        found_at=before.found_at,
    )  # fmt: skip
    if level >= max(found.peak * _ABYSS, LEAST) and not found.in_vain:
        return found
    return _deaf(found, now)


def _deaf(found: Borne, now: float) -> Borne:
    """Keep no pace for a while, each time twice as long."""
    deaf = min(max(2 * found.deaf, _DEAF), _DEAFEST)
    return replace(found, level=0.0, deaf=deaf, deaf_until=now + deaf)


def _span(level: float, depth: float, *, rough: bool) -> float:
    """The better a level is known, the longer it is held."""
    held = _SPAN * math.sqrt(_FLATTEST / depth)
    held = min(max(held, _SPAN_CALLS * _FLATTEST / depth / level), LONGEST_SPAN)
    return min(held, max(_ROUGH_SPAN, _FEW / level)) if rough else held

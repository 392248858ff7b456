"""The pace found from refusals alone, against simulated providers and a simulated clock."""

import heapq
import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.borne import LONGEST_GUESS, LONGEST_PAUSE, PAUSE, Borne, Sample, doubted, refused

FREE = 5.0
"""Times the limit: what is asked for while no pace is kept."""


class Provider(Protocol):
    @property
    def rate(self) -> float:
        """Calls per second that it bears."""
        ...

    def ask(self, now: float) -> float | None:
        """None: accepted; else seconds until it would be."""
        ...


@dataclass
class Bucket:
    rate: float
    burst: float
    """Seconds of the rate."""
    level: float = math.inf
    at: float = 0.0

    def ask(self, now: float) -> float | None:
        most = max(self.rate * self.burst, 1.0)
        self.level = min(most, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return (1 - self.level) / self.rate
        self.level -= 1
        return None


@dataclass
class FixedWindow:
    rate: float
    began: float = -13.0
    count: int = 0

    def ask(self, now: float) -> float | None:
        if now >= self.began + 60:
            self.began += 60 * ((now - self.began) // 60)
            self.count = 0
        if self.count < self.rate * 60:
            self.count += 1
            return None
        return self.began + 60 - now


@dataclass
class SlidingWindow:
    rate: float
    log: deque[float] = field(default_factory=deque)

    def ask(self, now: float) -> float | None:
        while self.log and self.log[0] <= now - 60:
            self.log.popleft()
        if len(self.log) < self.rate * 60:
            self.log.append(now)
            return None
        return self.log[0] + 60 - now


@dataclass
class Moody:
    """Refuses now and then, whatever the pace."""

    rate: float
    random: Random
    part: float = 0.1

    def ask(self, now: float) -> float | None:
        del now
        return 0.5 if self.random.random() < self.part else None


@dataclass
class NoLimit:
    """Accepts all."""

    rate: float

    def ask(self, now: float) -> float | None:
        del now
        return None


@dataclass
class Stormy:
    """Refuses some for three seconds, whatever the pace, and asks for a second of patience."""

    within: Provider
    random: Random
    storms: tuple[float, ...]
    part: float = 0.2

    @property
    def rate(self) -> float:
        return self.within.rate

    def ask(self, now: float) -> float | None:
        if any(at <= now < at + 3 for at in self.storms) and self.random.random() < self.part:
            return 1.0
        return self.within.ask(now)


Patience = Callable[[float], float | None]
TOLD: dict[str, Patience] = {
    "exactly": lambda seconds: seconds,
    "in whole seconds": lambda seconds: max(math.ceil(seconds), 1),
    "not": lambda _: None,
}


@dataclass
class Simulation:
    """Somebody who has more to ask than the provider bears, and goes by what is found."""

    provider: Provider
    patience: Patience
    latency: float = 0.05
    """Seconds until a refusal is heard of."""
    wanted: float = 0.0
    """Calls per second; 0: `FREE` times the limit."""
    now: float = 0.0
    borne: Borne | None = None
    calls: list[tuple[float, bool]] = field(default_factory=list)
    """When, and whether it was accepted."""
    _free: deque[float] = field(default_factory=deque)
    """When calls went that were accepted while no pace was kept."""
    _let_through: int = 0
    _idle: float = 0.0
    _next: float = 0.0
    _refusals: list[tuple[float, float, float]] = field(default_factory=list)

    def run(self, until: float) -> None:
        while self.now < until:
            paused = self.borne.since if self.borne is not None and self.borne.level else 0.0
            due = max(self._next, paused)
            if self._refusals and self._refusals[0][0] <= due:
                self._hear(*heapq.heappop(self._refusals))
            else:
                self._ask(due)

    @property
    def _kept(self) -> bool:
        return self.borne is not None and self.borne.level > 0

    @property
    def _seconds(self) -> float:
        assert self.borne is not None
        return max(self.now - self.borne.since - self._idle, 0.0)

    def _ask(self, due: float) -> None:
        self.now = due
        wait = self.provider.ask(due)
        self.calls.append((due, wait is None))
        if wait is not None:
            heapq.heappush(self._refusals, (due + self.latency, due, wait))
        elif not self._kept:
            self._free.append(due)
        self._let_through += 1
        wanted = self.wanted or self.provider.rate * FREE
        pace = self.borne.pace(self._seconds) if self.borne is not None and self._kept else 0.0
        gap = 1 / min(pace or wanted, wanted)
        if pace > wanted:
            self._idle += gap - 1 / pace
        self._next = due + gap

    def _hear(self, heard: float, sent: float, wait: float) -> None:
        self.now = heard
        known = self.borne
        if known is not None and known.level:
            sample = Sample(self._let_through - 1, self._seconds)
        else:
            while self._free and self._free[0] < heard - 60:
                self._free.popleft()
            seconds = heard - self._free[0] if self._free else 0.0
            sample = Sample(len(self._free) + len(self._refusals), seconds)
        asked = self.patience(wait)
        found = refused(known, now=heard, sent=sent, asked=asked, sample=sample)
        if found is None:
            return
        self.borne = found
        if known is None or found.cut_at != known.cut_at:
            self._let_through, self._idle = 0, 0.0
            self._free.clear()

    def between(self, since: float, until: float) -> tuple[int, int]:
        """Calls accepted and refused."""
        lately = [accepted for at, accepted in self.calls if since <= at < until]
        return sum(lately), len(lately) - sum(lately)


KINDS: dict[str, Callable[[float], Provider]] = {
    "a bucket of a second": lambda rate: Bucket(rate, 1.0),
    "a bucket of a minute": lambda rate: Bucket(rate, 60.0),
    "a window": FixedWindow,
    "a sliding window": SlidingWindow,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("told", TOLD)
def test_after_two_minutes_one_call_in_a_hundred_is_refused_and_nine_tenths_are_used(kind, told):
    simulation = Simulation(KINDS[kind](10.0), TOLD[told])
    simulation.run(600)
    accepted, refusals = simulation.between(120, 600)
    assert refusals <= 0.01 * accepted
    assert 0.9 * 4800 <= accepted <= 1.1 * 4800
    _, first = simulation.between(0, 120)
    assert first <= 60


@settings(max_examples=settings().max_examples // 4)  # each is ten minutes of calls
@example(rate=1.0, kind="a bucket of a minute", told="exactly", latency=0.01)
@example(rate=1.5, kind="a bucket of a minute", told="exactly", latency=0.005)
@example(rate=18.3844657307094, kind="a bucket of a second", told="exactly", latency=0.25065)
@given(
    rate=st.floats(1.0, 30.0),
    kind=st.sampled_from(sorted(KINDS)),
    told=st.sampled_from(sorted(TOLD)),
    latency=st.floats(0.005, 0.3),
)
def test_whatever_the_limit_it_is_used_and_seldom_passed(rate, kind, told, latency):
    simulation = Simulation(KINDS[kind](rate), TOLD[told], latency)
    simulation.run(600)
    accepted, refusals = simulation.between(200, 600)
    assert refusals <= 0.02 * accepted + 8
    assert accepted >= 0.7 * rate * 400


@pytest.mark.parametrize("told", TOLD)
def test_a_limit_that_is_raised_is_noticed_within_ten_minutes(told):
    provider = Bucket(10.0, 1.0)
    simulation = Simulation(provider, TOLD[told], wanted=200.0)
    simulation.run(300)
    provider.rate = 30.0
    simulation.run(1020)
    accepted, refusals = simulation.between(900, 1020)
    assert accepted >= 0.7 * 30 * 120
    assert refusals <= 0.01 * accepted + 3


@pytest.mark.parametrize("told", TOLD)
def test_a_limit_that_is_lowered_is_kept_to_soon(told):
    provider = Bucket(20.0, 1.0)
    simulation = Simulation(provider, TOLD[told])
    simulation.run(300)
    provider.rate, provider.level = 8.0, 0.0
    simulation.run(660)
    _, at_first = simulation.between(300, 360)
    accepted, refusals = simulation.between(360, 660)
    assert at_first <= 60
    assert refusals <= 0.02 * accepted
    assert accepted >= 0.85 * 8 * 300


def test_who_wants_less_than_is_borne_is_not_slowed_down():
    simulation = Simulation(Bucket(10.0, 1.0), TOLD["in whole seconds"])
    simulation.run(120)
    simulation.wanted = 5.0
    simulation.run(420)
    accepted, refusals = simulation.between(180, 420)
    assert refusals == 0
    assert accepted >= 0.99 * 5 * 240


def test_refusals_that_are_not_about_the_pace_do_not_stop_the_calls():
    simulation = Simulation(Moody(10.0, Random(7)), TOLD["not"])  # noqa: S311
    simulation.run(900)
    accepted, _ = simulation.between(300, 900)
    assert accepted >= 0.1 * 10 * FREE * 600  # Left to the window of calls at once.


@pytest.mark.parametrize("part", [0.003, 0.01, 0.05, 0.15])
def test_refusals_at_random_that_ask_for_no_patience_leave_most_of_the_pace(part):
    used = []
    for seed in range(9):
        simulation = Simulation(Moody(10.0, Random(seed), part), lambda _: 0.0)  # noqa: S311
        simulation.run(900)
        used.append(simulation.between(120, 900)[0] / (10 * FREE * 780))
    assert sorted(used)[4] >= 0.75


@pytest.mark.parametrize(
    ("within", "wanted", "storms", "least"),
    [
        (NoLimit(60.0), 60.0, (15.0,), 0.9),
        (NoLimit(60.0), 60.0, (300.0, 315.0, 330.0), 0.9),
        (Bucket(60.0, 1.0), 300.0, (300.0, 315.0, 330.0), 0.6),
    ],
)
def test_a_storm_of_a_few_seconds_does_not_leave_a_pace_that_is_far_too_low(
    within, wanted, storms, least
):
    used = []
    for seed in range(15):
        provider = Stormy(replace(within), Random(seed), storms)  # noqa: S311
        simulation = Simulation(provider, TOLD["in whole seconds"], latency=0.4, wanted=wanted)
        end = storms[-1] + 3
        simulation.run(end + 60)
        used.append(simulation.between(end + 30, end + 60)[0] / (60.0 * 30))
    assert statistics.mean(used) >= least


def test_a_pause_that_is_too_short_is_doubled_and_none_is_longer_than_a_minute():
    found = refused(None, now=100.0, sent=99.9, asked=None, sample=Sample(50, 5.0))
    assert found is not None
    pauses, sample = [], Sample(0, 0.05)
    for _ in range(10):
        now = found.since + 0.05
        again = refused(found, now=now, sent=found.since, asked=None, sample=sample)
        assert again is not None
        pauses.append(again.since - now)
        assert again.level < found.level
        found = again
    assert pauses[0] == pytest.approx(2 * PAUSE)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_GUESS
    patient = refused(found, now=found.since + 1, sent=found.since, asked=7200, sample=sample)
    assert patient is not None
    assert patient.since - found.since - 1 == LONGEST_PAUSE


def test_refusals_of_one_burst_are_one():
    found = refused(None, now=10.0, sent=9.9, asked=1.0, sample=Sample(20, 2.0))
    assert found is not None
    level = found.level
    for _ in range(30):
        found = refused(found, now=10.2, sent=9.95, asked=1.0, sample=Sample(-1, 0.0))
        assert found is not None
    assert found.cut_at == 10.0
    assert found.level <= level
    assert found.last.calls == 1  # Of the 20 that went, none was let through, it turned out.


@given(
    level=st.floats(0.01, 1e4),
    depth=st.floats(0.03, 0.4),
    span=st.floats(10.0, 600.0),
    seconds=st.floats(0.0, 1e5),
)
def test_a_pace_only_grows_and_is_no_limit_in_the_end(level, depth, span, seconds):
    one = Borne(
        level=level, depth=depth, span=span, since=0.0, cut_at=0.0, pause=1.0,
        last=Sample(1, 1), peak=0.0,
    )  # fmt: skip
    now, later = one.pace(seconds), one.pace(seconds + 1)
    assert later == 0 or 0 < now <= later
    assert one.pace(0.0) == pytest.approx(level * (1 - depth))
    assert one.pace(9 * span / depth) == 0.0


def test_of_a_storm_nothing_is_kept_but_what_was_proved_before_it():
    found = refused(None, now=100.0, sent=99.9, asked=1.0, sample=Sample(40, 2.0))
    assert found is not None
    later = refused(found, now=110.0, sent=109.9, asked=1.0, sample=Sample(300, 9.0))
    assert later is not None
    assert later.peak == later.level
    lower = refused(later, now=112.0, sent=111.9, asked=1.0, sample=Sample(5, 1.0))
    assert lower is not None
    assert lower.level < later.level
    assert doubted(lower, now=113.0, ill_since=112.5) is None  # The refusals were before it.
    proved = doubted(lower, now=113.0, ill_since=111.0)
    assert proved is not None
    assert proved.level == lower.peak > lower.level
    assert proved.last.calls / proved.last.seconds == pytest.approx(proved.level)
    assert doubted(proved, now=114.0, ill_since=111.0) is None
    forgotten = doubted(lower, now=113.0, ill_since=99.0)
    assert forgotten is not None
    assert forgotten.level == 0.0
    many = Sample(100, 2.0)
    assert refused(forgotten, now=120.0, sent=119.9, asked=1.0, sample=many) is None
    again = refused(forgotten, now=150.0, sent=149.9, asked=1.0, sample=many)
    assert again is not None
    assert again.found_at == 150.0

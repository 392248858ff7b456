import asyncio

from gateway.config import Limits
from gateway.errors import Outcome, RateLimited
from gateway.http.told import Meter, Told
from gateway.limits import LocalGate
from gateway.window import FIRST, NO_LIMIT, Window


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_there_is_no_window_until_the_provider_complains():
    window = Window(clock=Clock())
    for _ in range(100):
        window.succeeded(50)
    assert (window.engaged, window.places) == (False, NO_LIMIT)


def test_a_burst_of_complaints_is_one():
    clock = Clock()
    window = Window(clock=clock)
    for _ in range(30):
        window.complained(100)
    assert window.places == 70
    clock.now = 1.5
    window.complained(60)
    assert window.places == 42


def test_it_grows_by_a_sixteenth_per_window_while_it_is_used_and_is_forgotten_when_wide():
    clock = Clock()
    window = Window(clock=clock)
    window.complained(100)
    for _ in range(70):
        window.succeeded(70)
    assert 74 <= window.places <= 75
    for _ in range(1000):
        window.succeeded(10)  # It is not used: this says nothing.
    assert window.places <= 75
    for _ in range(20_000):
        window.succeeded(10_000)
    assert not window.engaged
    assert window.places == NO_LIMIT


def test_it_never_closes():
    clock = Clock()
    window = Window(clock=clock)
    for _ in range(50):
        clock.now += 2
        window.complained(1)
    assert window.places == 1


async def test_a_provider_of_which_nothing_is_known_gets_two_calls_and_one_more_for_each_answer():
    gate = LocalGate(Limits(), unknown=True)
    assert [gate.enter(0) for _ in range(FIRST)] == [None] * FIRST
    waiting = gate.enter(0)
    assert waiting is not None
    third = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    gate.leave(0, None, Outcome.OK)
    await third
    assert gate.enter(0) is None  # Three at once by now.
    assert gate._busy == 3
    assert gate._places == gate._busy
    for _ in range(3):
        gate.leave(0, None, Outcome.OK)


def test_caution_is_over_when_a_provider_has_borne_much_or_has_told_its_limits():
    window = Window(unknown=True, clock=Clock())
    answers = 0
    while window.engaged:
        window.succeeded(window.places)
        answers += 1
    assert 200 < answers < 300
    told = LocalGate(Limits(), unknown=True)
    assert told.enter(0) is None
    told.heard(Told(Meter(per_minute=60_000), None))
    told.leave(0, None, Outcome.OK)
    assert all(told.enter(0) is None for _ in range(50))


def test_a_complaint_narrows_the_gate():
    gate = LocalGate(Limits())
    for _ in range(10):
        assert gate.enter(0) is None
    gate.leave(0, None, RateLimited("slow down").outcome)
    assert gate._places == 7

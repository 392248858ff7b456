import asyncio
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Limits, Rates
from gateway.errors import NoTurn, Outcome
from gateway.limits import LONGEST_BLOCK, MOST_CALLERS, CallerGates, LocalGate, estimated_tokens
from gateway.types import JSONObject


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def passed(gate: LocalGate, tokens: int = 0) -> None:
    if (waiting := gate.enter(tokens)) is not None:
        await waiting


async def test_calls_per_minute_are_spread():
    clock = Clock()
    gate = LocalGate(Limits(rpm=60), clock=clock, sleep=clock.sleep)
    for _ in range(5):
        await passed(gate)
        gate.leave(0, None, Outcome.OK)
    assert clock.now - 1000.0 == pytest.approx(4.0)


async def test_tokens_per_minute_are_spread_and_corrected_by_what_was_counted():
    clock = Clock()
    gate = LocalGate(Limits(tpm=600), clock=clock, sleep=clock.sleep)
    await passed(gate, 100)
    gate.leave(100, 20, Outcome.OK)  # 80 were not used after all: 8 s less to wait.
    await passed(gate, 10)
    assert clock.now - 1000.0 == pytest.approx(1.1, abs=0.2)
    gate.leave(10, 100, Outcome.OK)
    await passed(gate, 1)
    assert clock.now - 1000.0 > 10


async def test_patience_asked_for_by_the_provider_holds_everyone_but_not_for_ever():
    clock = Clock()
    gate = LocalGate(Limits(), clock=clock, sleep=clock.sleep)
    await gate.block(timedelta(seconds=7))
    await passed(gate)
    assert clock.now == pytest.approx(1007.0)
    await gate.block(timedelta(hours=9))
    await passed(gate)
    assert clock.now == pytest.approx(1007.0 + LONGEST_BLOCK.total_seconds())


async def test_places_are_handed_out_in_the_order_of_arrival():
    gate = LocalGate(Limits(concurrency=1))
    assert gate.enter(0) is None
    order: list[int] = []

    async def call(number: int) -> None:
        await passed(gate)
        order.append(number)
        await asyncio.sleep(0)
        gate.leave(0, None, Outcome.OK)

    calls = [asyncio.create_task(call(n)) for n in range(5)]
    await asyncio.sleep(0)
    gate.leave(0, None, Outcome.OK)
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]


@given(seed=st.integers(0, 10_000))
def test_no_place_is_lost_or_made_however_calls_are_cancelled(seed):
    asyncio.run(_storm(Random(seed)))  # noqa: S311


async def _storm(random: Random) -> None:
    gate = LocalGate(Rates(concurrency=3))
    running = 0

    async def call() -> None:
        nonlocal running
        await passed(gate)
        running += 1
        assert running <= 3
        try:
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)
        finally:
            running -= 1
            gate.leave(0, None, None)

    calls = [asyncio.create_task(call()) for _ in range(30)]
    for _ in range(40):
        random.choice(calls).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*calls, return_exceptions=True)
    assert [gate.enter(0) for _ in range(3)] == [None] * 3
    full = gate.enter(0)
    assert full is not None
    asyncio.ensure_future(full).cancel()


async def test_a_call_that_would_wait_too_long_is_refused_and_takes_nothing():
    clock = Clock()
    gate = LocalGate(Limits(rpm=6), max_wait=5, clock=clock, sleep=clock.sleep)
    await passed(gate)
    for _ in range(3):
        with pytest.raises(NoTurn) as caught:
            gate.enter(0)
        assert caught.value.retry_after == timedelta(seconds=10)
    clock.now += 10
    assert gate.enter(0) is None


async def test_a_place_that_does_not_come_free_in_time_is_refused():
    gate = LocalGate(Limits(concurrency=1), max_wait=0.01)
    assert gate.enter(0) is None
    with pytest.raises(NoTurn):
        await passed(gate)
    gate.leave(0, None, Outcome.OK)
    assert gate.enter(0) is None


async def test_every_caller_has_a_share_of_its_own():
    gates = CallerGates(Rates(concurrency=1))
    first = gates.enter("a", 0)
    with pytest.raises(NoTurn):
        gates.enter("a", 0)
    gates.enter("b", 0)
    first.leave(0, None, None)
    gates.enter("a", 0)


async def test_callers_are_forgotten_in_the_end():
    gates = CallerGates(Rates(rpm=1))
    for number in range(MOST_CALLERS + 10):
        gates.enter(str(number), 0)
    assert len(gates._gates) == MOST_CALLERS


def test_tokens_are_estimated_from_all_text_and_the_answers_limit():
    body: JSONObject = {"messages": [{"role": "user", "content": "abcd" * 100}], "max_tokens": 50}
    assert 150 <= estimated_tokens(body) <= 155
    parts: JSONObject = {"messages": [{"content": [{"type": "text", "text": "abcd" * 100}]}]}
    assert estimated_tokens(parts) > 300
    assert estimated_tokens({"input": ["abcd"] * 10}) == 10

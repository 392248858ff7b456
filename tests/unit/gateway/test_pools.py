import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.breaker import CircuitBreaker, State
from gateway.config import Breaker, ReplicaAddress
from gateway.errors import CircuitOpen, InvalidRequest, RateLimited, Unavailable
from gateway.pools import Pool, Replica, Vitals

NOBODY = cast("Any", None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def replica(
    url: str, clock: Clock, *, weight: float = 1, concurrency: int | None = None
) -> Replica:
    breaker = CircuitBreaker(Breaker(), pooled=True, clock=clock)
    address = ReplicaAddress(url=url, weight=weight, concurrency=concurrency)
    return Replica(address, NOBODY, Vitals(breaker, clock))


def pool_of(*urls: str, clock: Clock | None = None, **options: Any) -> Pool:
    clock = clock or Clock()
    return Pool([replica(url, clock, **options) for url in urls])


def taken(pool: Pool) -> Replica:
    found = pool.take()
    assert found is not None
    return found


@given(st.lists(st.booleans(), max_size=200))
def test_the_least_busy_replica_is_taken(steps):
    pool = pool_of("a", "b", "c")
    running: list[Replica] = []
    for take in steps:
        if take or not running:
            least = min(r.vitals.in_flight for r in pool.replicas)
            found = taken(pool)
            assert found.vitals.in_flight == least + 1
            running.append(found)
        else:
            pool.give_back(running.pop(0), None)
    assert sum(r.vitals.in_flight for r in pool.replicas) == len(running)


def test_equals_take_turns():
    pool = pool_of("a", "b", "c")
    seen = []
    for _ in range(6):
        found = taken(pool)
        seen.append(found.url)
        pool.give_back(found, None)
    assert sorted(seen) == ["a", "a", "b", "b", "c", "c"]


def test_a_replica_of_twice_the_weight_works_on_twice_as_much():
    clock = Clock()
    pool = Pool([replica("small", clock), replica("large", clock, weight=2)])
    for _ in range(30):
        taken(pool)
    assert [r.vitals.in_flight for r in pool.replicas] == [10, 20]


async def test_calls_beyond_the_capacity_of_all_wait_in_order():
    pool = pool_of("a", "b", concurrency=1)
    first, second = taken(pool), taken(pool)
    assert pool.take() is None
    order: list[int] = []

    async def call(number: int) -> None:
        found = await pool.taken()
        order.append(number)
        await asyncio.sleep(0)
        pool.give_back(found, None)

    calls = [asyncio.create_task(call(n)) for n in range(6)]
    await asyncio.sleep(0)
    calls[2].cancel()
    pool.give_back(first, None)
    pool.give_back(second, None)
    await asyncio.gather(*calls, return_exceptions=True)
    assert order == [0, 1, 3, 4, 5]
    assert [r.vitals.in_flight for r in pool.replicas] == [0, 0]


def test_a_replica_that_keeps_failing_gets_no_calls_until_it_is_probed():
    clock = Clock()
    pool = pool_of("bad", "good", clock=clock)
    bad = pool.replicas[0]
    for _ in range(3):
        bad.vitals.in_flight += 1
        pool.give_back(bad, Unavailable("refused"))
    assert bad.status().state is State.OPEN
    assert bad.status().reason == "refused"
    assert {taken(pool).url for _ in range(10)} == {"good"}
    clock.now += 5
    assert bad.status().state is State.HALF_OPEN
    assert taken(pool).url == "bad"  # The probe; until it is over, no other call.
    assert {taken(pool).url for _ in range(10)} == {"good"}
    pool.give_back(bad, None)
    assert bad.status().state is State.CLOSED
    assert taken(pool).url == "bad"


def test_who_failed_at_this_question_comes_last():
    pool = pool_of("a", "b")
    a, b = pool.replicas
    a.vitals.in_flight = 0
    b.vitals.in_flight = 50
    assert pool.has_other([a])
    found = pool.take([a])
    assert found is b
    assert not pool.has_other([a, b])
    assert pool.take([a, b]) is a


def test_an_overloaded_replica_rests_and_is_no_failure():
    clock = Clock()
    pool = pool_of("a", "b", clock=clock)
    a, b = pool.replicas
    for busy in (a, b):
        busy.vitals.in_flight += 1
        pool.give_back(busy, RateLimited("full", retry_after=timedelta(seconds=2)))
    with pytest.raises(RateLimited) as caught:
        pool.take()
    assert caught.value.retry_after == timedelta(seconds=2)
    assert a.status().state is State.CLOSED
    clock.now += 2
    assert pool.take() is not None


def test_when_none_is_well_it_is_said_when_to_come_again():
    pool = pool_of("a", "b")
    for bad in pool.replicas:
        for _ in range(3):
            bad.vitals.in_flight += 1
            pool.give_back(bad, Unavailable("connection refused"))
    with pytest.raises(CircuitOpen, match="every replica is left alone after: connection refused"):
        pool.take()


def test_a_server_that_refuses_a_request_is_well():
    pool = pool_of("a")
    for _ in range(50):
        pool.give_back(taken(pool), Unavailable("x") if _ % 2 else InvalidRequest("x", status=400))
    assert pool.replicas[0].status().state is State.CLOSED


async def test_calls_that_wait_through_a_reload_are_served_by_the_pool_after_it():
    clock = Clock()
    only = replica("a", clock, concurrency=1)
    old = Pool([only])
    taken(old)
    waiting = asyncio.create_task(old.taken())
    await asyncio.sleep(0)
    new = Pool([Replica(ReplicaAddress(url="a", concurrency=1), NOBODY, only.vitals)], old)
    assert new.take() is None
    new.give_back(new.replicas[0], None)
    assert (await waiting).url == "a"


def test_a_breaker_that_is_switched_off_never_opens():
    breaker = CircuitBreaker(Breaker(enabled=False), pooled=True)
    for _ in range(100):
        breaker.failed()
    assert breaker.state is State.CLOSED


def test_an_open_breaker_stays_open_longer_each_time_up_to_its_most():
    clock = Clock()
    breaker = CircuitBreaker(Breaker(failures=1, open=5, max_open=12), pooled=False, clock=clock)
    breaker.failed()
    waits = []
    for _ in range(4):
        waits.append(breaker.wait())
        clock.now += breaker.wait()
        breaker.enter()
        breaker.failed()
    assert waits == [5, 10, 12, 12]

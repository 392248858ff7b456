"""Redis is emptied, killed or silent: hints are lost, work is not, and nothing is bought again."""

import shutil

import pytest
import redis

from stack.valkey import Valkey
from tests.support.arena import LIMITED, RPM
from tests.support.history import too_fast
from tests.support.relay import relay

CELLS = 500


def test_a_broker_that_is_flushed_and_killed_and_comes_back_empty_loses_nothing(place):
    place.workers(2)
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    redis.Redis.from_url(place.valkey.url).flushall()
    place.wait_done(job, CELLS // 2)
    place.valkey.kill()
    shutil.rmtree(place.directory / "valkey" / "appendonlydir")
    late = place.submit(20)  # its hints go nowhere
    place.valkey.start()
    assert place.finish(job).calls == CELLS
    assert place.finish(late).calls == 20


def test_a_limit_of_the_whole_cluster_holds_while_the_broker_is_flushed_and_killed(place):
    place.workers(2)
    job = place.submit(440, endpoints=[LIMITED])
    place.wait_done(job, 80)
    redis.Redis.from_url(place.valkey.url).flushall()
    place.wait_done(job, 160)
    place.valkey.kill()
    place.wait_done(job, 320)
    place.valkey.start()
    assert place.finish(job).calls == 440
    # A flush, a loss and a return each begin the count anew, with a second's worth at most; and
    # on a busy machine those of two seconds may arrive at once.
    assert too_fast(place.asked(job), per_second=RPM / 60, burst=5 * RPM / 60, over=10) == []


@pytest.fixture
def silent(place):
    """A port to Valkey that can go silent."""
    with relay(Valkey(place.directory / "valkey").socket) as made:
        yield made
    place.no_workers()


def test_a_broker_that_goes_silent_loses_nothing(place, silent):
    place.no_workers()
    for _ in range(2):
        place.start("worker", HIKAKU_REDIS_URL=f"redis://127.0.0.1:{silent.port}/0")
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    silent.go_silent()
    assert place.finish(job).calls == CELLS, "a worker goes on by what Postgres says"
    late = place.submit(20)
    silent.heal()
    assert place.finish(late).calls == 20


@pytest.fixture
def full(place):
    """Valkey with no memory left to write to, for as long as it is told."""
    broker = redis.Redis.from_url(place.valkey.url)
    yield broker
    broker.config_set("maxmemory", 0)


def test_a_broker_that_is_full_loses_nothing_and_ends_nobody(place, full):
    place.workers(2)
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    full.config_set("maxmemory-policy", "noeviction")
    full.config_set("maxmemory", 1)
    late = place.submit(20)  # its hints are refused
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        full.set("anything", 1)
    place.start("worker")  # which finds it so
    assert place.finish(job).calls == CELLS, "a worker goes on by what Postgres says"
    full.config_set("maxmemory", 0)
    assert place.finish(late).calls == 20
    assert not place.said("the clock stopped")

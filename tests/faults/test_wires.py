"""The wire between a worker and Postgres is silent or bad; `test_partition` cuts it."""

import pytest
from sqlalchemy import func, select

from hikaku.storage.tables import Shard
from stack.postgres import Postgres
from tests.support.arena import LEASE
from tests.support.relay import relay

CELLS = 500


@pytest.fixture
def wire(place):
    """A port to Postgres."""
    place.no_workers()
    with relay(Postgres(place.directory / "pg").sockets / ".s.PGSQL.5432") as made:
        yield made
    place.no_workers()


def over(wire, **settings):
    url = f"postgresql://hikaku@127.0.0.1:{wire.port}/hikaku"
    return {"HIKAKU_DATABASE_URL": url} | settings


def claims(place, job):
    """The most often that one shard of a job was claimed."""
    with place.sessions() as session:
        return session.scalar(select(func.max(Shard.epoch)).where(Shard.job_id == job))


def test_a_worker_that_postgres_does_not_answer_loses_its_shards_and_changes_nothing(place, wire):
    place.mood(seconds=1, spread=0.1)  # so that it is not over before the wire is cut
    cut, other = place.start("worker", **over(wire)), place.start("worker")
    job = place.submit(CELLS)
    for worker in (cut, other):
        place.wait_asking(worker)
    place.wait_done(job, CELLS // 5)
    place.cut_off(cut, wire.go_silent)  # it keeps the connections, and nobody is told
    assert place.done(job) < CELLS // 2
    place.wait(lambda: claims(place, job) > 1, "the other to take its shards")
    wire.heal()
    place.mood()
    place.finish(job)
    late = place.submit(CELLS // 5)
    assert place.finish(late).calls == CELLS // 5
    assert cut.process.poll() is None, "it was cut off, not killed"


def test_a_wire_that_is_slow_and_loses_packets_costs_no_call(place, wire):
    wire.be_bad(delay=0.01, stall=0.5, often=0.03)
    for _ in range(2):
        place.start("worker", **over(wire, HIKAKU_LEASE_SECONDS=str(3 * LEASE)))
    job = place.submit(CELLS)
    assert place.finish(job).calls == CELLS

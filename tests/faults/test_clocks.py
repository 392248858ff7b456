"""Wall clocks jump by an hour while jobs run: leases, turns and deadlines do not rest on them."""

import time

import pytest
from sqlalchemy import func, select

from hikaku.storage.tables import CellResult, Shard

CELLS = 500
HOUR = 3_600


def claims(place, job):
    """The most often that one shard of a job was claimed."""
    with place.sessions() as session:
        return session.scalar(select(func.max(Shard.epoch)).where(Shard.job_id == job))


def recorded_between(place, job):
    """The first and the last moment of a record, by the clock of whoever made it."""
    with place.sessions() as session:
        moments = select(func.min(CellResult.recorded_at), func.max(CellResult.recorded_at))
        first, last = session.execute(moments.where(CellResult.job_id == job)).one()
    return first.timestamp(), last.timestamp()


def test_clocks_that_jump_by_an_hour_cost_no_lease_and_no_call(place):
    if place.clocks is None:
        pytest.skip("without a C compiler no clock can be set")
    place.no_workers()
    ahead, behind = place.workers(2)
    schedulers = [one for one in place.living() if one.name.startswith("scheduler.")]
    place.mood(seconds=0.5)  # long enough a job that it is not over before the clocks jump
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    began = time.time()
    place.set_clock(ahead, HOUR)
    place.set_clock(behind, -HOUR)
    for scheduler in schedulers:
        place.set_clock(scheduler, HOUR)
    place.wait_done(job, CELLS // 2)
    place.set_clock(ahead, -HOUR)
    place.set_clock(behind, HOUR)
    for scheduler in schedulers:
        place.set_clock(scheduler, -HOUR)
    late = place.submit(CELLS // 5)
    assert place.finish(job).calls == CELLS
    assert place.finish(late).calls == CELLS // 5
    assert claims(place, job) == 1
    first, last = recorded_between(place, job)
    assert first < began - HOUR / 2 < began + HOUR / 2 < last, "the clocks did jump"
    for scheduler in schedulers:
        place.set_clock(scheduler, 0)
    place.no_workers()

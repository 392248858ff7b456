"""A worker freezes, is asked to stop, or meets a slow database: no work is lost or bought again."""

import time

import psycopg
import pytest
from sqlalchemy import func, select

from hikaku.failpoints import Point
from hikaku.jobs import JobState
from hikaku.storage import control
from hikaku.storage.tables import Shard
from tests.support.arena import LEASE

CELLS = 500

IN_TRANSACTION = (
    Point.IN_CLAIM, Point.IN_HEARTBEAT, Point.IN_COPY, Point.AFTER_COPY_BEFORE_COMMIT,
    Point.IN_COMPLETE,
)  # fmt: skip
"""Where what is locked is not let go before the commit."""


def claims(place, job):
    """The most often that one shard of a job was claimed."""
    with place.sessions() as session:
        return session.scalar(select(func.max(Shard.epoch)).where(Shard.job_id == job))


def test_a_frozen_worker_that_wakes_after_its_lease_changes_nothing(place):
    frozen, _ = place.workers(2)
    place.mood(seconds=0.5)  # long enough a job that it is not over before one freezes
    job = place.submit(CELLS)
    place.wait_asking(frozen)
    place.wait_done(job, CELLS // 5)
    place.freeze(frozen)
    place.wait(lambda: claims(place, job) > 1, "its shards to be claimed by another")
    place.thaw(frozen)
    place.finish(job)


@pytest.mark.parametrize("point", IN_TRANSACTION)
def test_a_worker_frozen_in_a_transaction_holds_nobody_up(place, point):
    place.no_workers()
    job = place.submit(CELLS)
    frozen = place.frozen(point)
    place.start("worker")
    assert place.wait_final(job) is JobState.COMPLETED
    place.thaw(frozen)
    place.finish(job)


@pytest.mark.parametrize("point", [Point.ADOPT_AFTER_LOCK, Point.ADOPT_BEFORE_REMOVE])
def test_a_worker_frozen_over_a_dead_ones_spool_holds_nobody_up(place, point):
    place.no_workers()
    job = place.submit(CELLS)
    first = place.armed(Point.AFTER_SPOOL_BEFORE_COPY, 30)
    place.await_death(first, Point.AFTER_SPOOL_BEFORE_COPY)
    frozen = place.frozen(point)
    place.start("worker")
    assert place.wait_final(job) is JobState.COMPLETED
    place.thaw(frozen)
    place.finish(job)
    place.mood(seconds=0.5)  # long enough a job that one worker does not do it alone
    another = place.submit(CELLS)
    place.wait_asking(frozen)
    place.mood()
    place.finish(another)


def test_a_worker_that_is_asked_to_stop_finishes_its_calls_and_buys_none_again(place):
    place.mood(seconds=1.5, spread=0.1)
    leaving, staying = place.workers(2)
    job = place.submit(320)  # more shards than one worker takes at once
    place.wait_asking(leaving)
    place.wait_calls(20)
    place.dismiss(leaving)
    place.mood(seconds=0.05)
    found = place.finish(job)
    assert found.calls == 320
    assert staying.process.poll() is None


def test_a_slow_database_costs_no_lease(place):
    place.no_workers()
    for _ in range(2):  # with a lease that a busy machine can keep
        place.start("worker", HIKAKU_LEASE_SECONDS=str(2 * LEASE))
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    with psycopg.connect(place.postgres.url_of("hikaku")) as connection:
        connection.execute("lock table cell_result in access exclusive mode")
        time.sleep(3 * LEASE)
    found = place.finish(job)
    assert found.calls == CELLS
    assert claims(place, job) == 1


def test_no_call_starts_after_a_cancellation_has_reached_the_workers(place):
    place.workers(2)
    job = place.submit(2_000)
    place.wait_done(job, 100)
    with place.sessions.begin() as session:
        control.cancel(session, job)
    cancelled_at = time.time()
    assert place.wait_final(job) is JobState.CANCELLED
    place.verify_cancelled(job, cancelled_at)

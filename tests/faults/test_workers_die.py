"""A worker process dies at every place it can die at, and nothing is lost, doubled or hidden.

Each job is begun by workers that are each armed with another point; when all have died where
they were to, a healthy one finishes it. What is verified: `tests.support.history`.
"""

import pytest

from hikaku.failpoints import Point

CELLS = 400

CLAIMING = {Point.IN_CLAIM: 2, Point.AFTER_CLAIM: 2, Point.IN_HEARTBEAT: 4, Point.BEFORE_CALL: 40}
"""Each point with the passage at which its worker dies."""
RECORDING = {
    Point.AFTER_CALL_BEFORE_SPOOL: 20,
    Point.IN_COPY: 3,
    Point.AFTER_COPY_BEFORE_COMMIT: 2,
    Point.AFTER_COMMIT_BEFORE_FORGET: 2,
}
COMPLETING = {Point.BEFORE_COMPLETE: 2, Point.IN_COMPLETE: 2, Point.AFTER_COMPLETE: 2}


@pytest.mark.parametrize(
    "points", [CLAIMING, RECORDING, COMPLETING], ids=["claiming", "recording", "completing"]
)
def test_workers_that_die_at_their_work_lose_nothing(place, points):
    place.no_workers()
    place.mood(seconds=0.5)  # who dies at its fourth heartbeat asks until then
    job = place.submit(CELLS)
    armed = {point: place.armed(point, passage) for point, passage in points.items()}
    for point, worker in armed.items():
        place.await_death(worker, point)
    assert place.done(job) < CELLS, "the job ended before all had died"
    place.mood()
    place.workers(1)
    place.finish(job)


def test_the_work_of_a_killed_worker_is_taken_up_before_its_lease_ends(place):
    place.no_workers()
    hour = {"HIKAKU_LEASE_SECONDS": "300"}
    victim, _ = place.start("worker", **hour), place.start("worker", **hour)
    place.mood(seconds=0.5)  # long enough a job that the victim has a part of it
    job = place.submit(CELLS)
    place.wait_asking(victim)
    place.wait_done(job, CELLS // 8)
    place.kill(victim)
    place.mood()
    place.finish(job)
    place.no_workers()


def test_workers_that_die_over_a_dead_ones_spool_lose_nothing(place):
    place.no_workers()
    job = place.submit(CELLS)
    first = place.armed(Point.AFTER_SPOOL_BEFORE_COPY, 30)
    place.await_death(first, Point.AFTER_SPOOL_BEFORE_COPY)
    for point in (Point.ADOPT_AFTER_LOCK, Point.ADOPT_BEFORE_REMOVE):
        place.await_death(place.armed(point), point)
    place.workers(1)
    place.finish(job)


def test_workers_that_die_while_they_are_asked_to_stop_lose_nothing(place):
    place.no_workers()
    place.mood(seconds=0.5)
    job = place.submit(CELLS)
    points = (Point.IN_DRAIN, Point.IN_HAND_BACK)
    # So few at once that a shard in hand still has cells to be asked.
    armed = {point: place.armed(point, HIKAKU_CELLS_IN_FLIGHT="4") for point in points}
    for worker in armed.values():
        place.wait_asking(worker)
    for point, worker in armed.items():
        worker.process.terminate()
        place.await_death(worker, point)
    place.workers(1)
    place.finish(job)

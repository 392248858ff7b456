"""The disk under the spools is full: nothing is asked that cannot be noted, and nothing is lost."""

import resource
import time

from hikaku.storage import jobs
from tests.support.arena import Arena, Member
from tests.support.disks import fill

CELLS = 900
SEGMENT = 2**16
"""A segment takes new cells up to this size, and its file is larger by a megabyte."""
FULL = 2**20
"""A file may be this large: enough for a log, and not for another segment."""


def allow(worker: Member, size: int) -> None:
    """Let no file of a process grow beyond a size: what a full disk is to it, without root."""
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def troubles(place: Arena) -> list[str]:
    with place.sessions() as session:
        found = [trouble for _, _, trouble in jobs.queue_depth(session).workers]
    return [trouble for trouble in found if trouble]


def test_workers_whose_disk_is_full_ask_as_far_as_they_can_note_it(place):
    place.no_workers()
    workers = [place.start("worker", HIKAKU_SPOOL_SEGMENT_BYTES=str(SEGMENT)) for _ in range(2)]
    place.mood(seconds=0.5)  # long enough a job that it is not over before the disk is full
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 6)
    for worker in workers:
        allow(worker, FULL)
    said: list[str] = []  # kept: there may be room again by the time of another look

    def are_full() -> bool:
        said.extend(troubles(place))
        return bool(said)

    place.wait(are_full, "one to say that it is full")
    assert "no room for the spool" in said[0]
    place.mood()
    assert place.finish(job).calls == CELLS, "the segments that there are were used again"
    for worker in workers:
        allow(worker, resource.RLIM_INFINITY)
    place.wait(lambda: troubles(place) == [], "them to see that there is room")


def test_a_worker_that_starts_on_a_full_disk_waits_for_room(place):
    place.no_workers()
    blocks = FULL // 512
    limited = ("sh", "-c", f'ulimit -S -f {blocks}; exec "$@"', "sh")
    worker = place.start("worker", prefix=limited)
    job = place.submit(20)
    place.wait(lambda: place.said("not joining until there is"), "it to say so")
    assert place.log.count() == 0 or not place.asked(job)
    allow(worker, resource.RLIM_INFINITY)
    assert place.finish(job).calls == 20
    place.no_workers()


def test_a_worker_that_is_killed_on_a_full_disk_loses_what_was_in_flight_at_most(place, small_disk):
    place.no_workers()
    settings = {"HIKAKU_SPOOL_DIR": str(small_disk), "HIKAKU_SPOOL_SEGMENT_BYTES": str(SEGMENT)}
    victim, _ = place.start("worker", **settings), place.start("worker", **settings)
    place.mood(seconds=0.5)  # long enough a job that it is not over before the disk is full
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 6)
    filler = fill(small_disk)
    # A segment that was about to go when the disk was filled makes room for the next one.
    place.wait(lambda: fill(small_disk).exists() and bool(troubles(place)), "one to say it is full")
    place.kill(victim)
    time.sleep(1)
    filler.unlink()
    place.mood()
    place.finish(job)
    place.no_workers()

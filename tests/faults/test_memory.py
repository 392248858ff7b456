"""Answers that fit into no memory: a call fails, its cell says why, and no worker dies of it."""

import resource

import psutil
from sqlalchemy import select

from hikaku.jobs import AttemptOutcome
from hikaku.storage.tables import AttemptLine
from tests.support.arena import Arena, Member

CELLS = 400
SPARE = 256 * 2**20
"""Bytes of address space that a worker may still take: less than two answers of 200 MB."""


def bound(worker: Member) -> None:
    """Let a worker grow by `SPARE` bytes and no more."""
    most = psutil.Process(worker.process.pid).memory_info().vms + SPARE
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def test_bodies_of_200_megabytes_are_cut_off_and_asked_again(place: Arena):
    place.no_workers()
    workers = place.workers(2)
    place.mood(seconds=0.5)  # long enough a job that it is not over before the answers are huge
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 10)
    for worker in workers:
        bound(worker)
    place.mood(seconds=0.1, huge=0.03, seed=5)
    found = place.finish(job)
    with place.sessions() as session:
        line = (AttemptLine.job_id == job, AttemptLine.outcome == AttemptOutcome.MALFORMED)
        said = session.scalars(select(AttemptLine.error).where(*line)).all()
    assert len(said) == found.failures > 0
    assert all("longer than" in (error or "") for error in said)
    assert all(worker.process.poll() is None for worker in workers)
    place.no_workers()

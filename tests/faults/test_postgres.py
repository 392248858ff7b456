"""Postgres restarts, stays away, drops a writer or is full: answers wait, none is asked again."""

import time

import psycopg
import pytest

from hikaku.failpoints import Point
from tests.support.arena import LEASE
from tests.support.disks import fill

CELLS = 600


def test_a_database_that_is_killed_and_one_that_stays_away_lose_nothing(place):
    place.workers(2)
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    place.postgres.kill()
    place.postgres.start()
    place.wait_done(job, CELLS // 2)
    place.postgres.kill()
    time.sleep(2 * LEASE)
    place.postgres.start()
    assert place.finish(job).calls == CELLS


def test_a_writer_whose_connection_is_cut_in_the_middle_of_a_copy_writes_again(place):
    place.no_workers()
    lease = {"HIKAKU_LEASE_SECONDS": str(4 * LEASE)}  # that outlasts what is done to it
    writer = place.start("worker", failpoints=f"{Point.IN_COPY}:stop@3", **lease)
    job = place.submit(CELLS)
    place.wait(lambda: writer.sprung() is not None, "the writer to stop in its transaction")
    with psycopg.connect(place.postgres.url_of("hikaku"), autocommit=True) as connection:
        cut = connection.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name like 'hikaku%' and pid <> pg_backend_pid()"
            " and backend_xid is not null"
        ).fetchone()
    place.thaw(writer)
    assert cut is not None
    assert cut[0] >= 1
    place.workers(2)
    assert place.finish(job).calls == CELLS


@pytest.fixture
def results_on_it(place, small_disk):
    """Move the results there, and back."""
    room = small_disk / "room"
    room.mkdir(mode=0o777)
    room.chmod(0o777)
    url = place.postgres.url_of("hikaku")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create tablespace small location '{room}'")
        parts = [
            name
            for (name,) in connection.execute(
                "select inhrelid::regclass::text from pg_inherits"
                " where inhparent = 'cell_result'::regclass"
            )
        ]
        for part in parts:
            connection.execute(f"alter table {part} set tablespace small")
        yield small_disk
        for part in parts:
            connection.execute(f"alter table {part} set tablespace pg_default")
        connection.execute("drop tablespace small")


def test_a_full_disk_delays_results_and_loses_none(place, results_on_it):
    place.workers(2)
    place.mood(seconds=0.5)  # long enough a job that it is not over before the disk is full
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 5)
    filler = fill(results_on_it)
    place.wait(lambda: place.said("No space left on device"), "the disk to be full")
    time.sleep(LEASE)
    filler.unlink()
    place.mood()
    assert place.finish(job).calls == CELLS

"""SIGKILL of a worker, FLUSHALL of Redis and a restart of Postgres, each in mid-job.

Every cell ends recorded exactly once; calls are repeated only where they were in flight.
"""

import signal

import pytest
import redis

from hikaku.jobs import JobState
from tests.support.jobs import spec
from tests.support.workers import CallLog, assert_every_cell_once, chaos, cluster, numbered_rows

CELLS = 400
SLOW = {"median_ms": 200, "sigma": 0.3}


@pytest.fixture
def calls(folder):
    return CallLog(folder / "calls.jsonl")


@pytest.fixture
def running(folder, calls, own_postgres, own_valkey, own_sessions):
    endpoint = chaos("a", calls.path, latency=SLOW)
    database = own_postgres.url_of("hikaku")
    with cluster(folder, database, own_valkey.broker_url, own_sessions, [endpoint]) as started:
        yield started


@pytest.fixture
def job(running):
    job_id = running.submit(spec(rows=numbered_rows(CELLS), endpoints=["a"]))
    running.wait_done(job_id, CELLS // 5)
    return job_id


def test_a_killed_worker_loses_nothing_and_buys_only_what_was_in_flight(running, calls, job):
    pids = {name: process.pid for name, process in running.processes.items()}
    busiest = max(pids, key=lambda name: calls.in_flight(pids[name]))
    running.kill(busiest)
    in_flight = calls.in_flight(pids[busiest])
    assert in_flight > 0
    assert running.wait_final(job) is JobState.COMPLETED
    assert_every_cell_once(running, job, CELLS)
    assert calls.calls() <= CELLS + in_flight
    assert calls.answered_more_than_once() == {}
    repeated = sum(e.repeated_calls for e in running.progress(job).endpoints.values())
    assert repeated <= in_flight
    assert sum(e.calls for e in running.progress(job).endpoints.values()) == calls.calls()


def test_a_flushed_redis_loses_nothing(running, calls, job, own_valkey):
    redis.Redis.from_url(own_valkey.url).flushall()
    assert running.wait_final(job) is JobState.COMPLETED
    assert_every_cell_once(running, job, CELLS)
    assert calls.calls() == CELLS


def test_a_restarted_postgres_loses_nothing(running, calls, job, own_postgres):
    own_postgres.kill()
    own_postgres.start()
    assert running.wait_final(job) is JobState.COMPLETED
    assert_every_cell_once(running, job, CELLS)
    assert calls.calls() == CELLS


def test_a_worker_that_is_asked_to_stop_hands_its_shards_back(running, calls, job):
    running.kill("worker-0", signal.SIGTERM)
    assert running.processes["worker-0"].wait(30) == 0, running.logs()
    assert running.wait_final(job) is JobState.COMPLETED
    assert_every_cell_once(running, job, CELLS)
    assert calls.calls() == CELLS

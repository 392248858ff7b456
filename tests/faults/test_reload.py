"""The gateway's file changes while jobs run: workers follow it, and nothing is cut or lost."""

import pytest

from hikaku.jobs import JobState
from tests.support.jobs import spec
from tests.support.workers import CallLog, assert_every_cell_once, chaos, cluster, numbered_rows

CELLS = 300


@pytest.fixture
def calls(folder):
    return CallLog(folder / "calls.jsonl")


@pytest.fixture
def running(folder, calls, own_postgres, own_valkey, own_sessions):
    endpoint = chaos("a", calls.path, latency={"median_ms": 200, "sigma": 0.3})
    database = own_postgres.url_of("hikaku")
    with cluster(folder, database, own_valkey.broker_url, own_sessions, [endpoint]) as started:
        yield started


def have_said(running, words):
    """Whether every worker wrote this to its log."""
    logs = [running.directory / f"{name}.log" for name in running.processes if "worker" in name]
    return all(words in log.read_text(encoding="utf-8", errors="replace") for log in logs)


def test_running_workers_ask_an_endpoint_that_is_new_and_finish_at_the_old_one(running, calls):
    job = running.submit(spec(rows=numbered_rows(CELLS), endpoints=["a"]))
    running.wait_done(job, CELLS // 10)
    running.wait(lambda: have_said(running, "joined the workers"), "all workers to run")
    running.endpoints.append(chaos("新しい", reply="りんご"))
    running.configure()
    running.wait(lambda: have_said(running, "new configuration in use"), "them to go by it")
    late = running.submit(spec(rows=numbered_rows(20), endpoints=["新しい"]))
    assert running.wait_final(late) is JobState.COMPLETED
    assert_every_cell_once(running, late, 20)
    assert running.wait_final(job) is JobState.COMPLETED
    assert_every_cell_once(running, job, CELLS)
    assert calls.calls() == CELLS

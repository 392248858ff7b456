"""Control of jobs that really run: what the provider saw, against when the API answered."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.context import Context
from api.main import create_app
from api.security import guard_for
from gateway.client import Gateway
from gateway.config import load
from hikaku.jobs import JobState
from hikaku.queue import Queue, celery_app
from hikaku.storage.connection import Reader, open_engine, open_sessions
from hikaku.storage.tables import CellResult, Score
from migrations.__main__ import upgrade
from tests.support.database import sqlalchemy_url
from tests.support.jobs import spec
from tests.support.services import running_postgres, running_valkey, short_directory
from tests.support.workers import (
    CallLog,
    Cluster,
    assert_every_cell_once,
    chaos,
    cluster,
    numbered_rows,
)

CELLS = 300
LATEST = 2.0
"""Seconds after an answer in which calls may still start."""
LONG = 40
"""Seconds of a call that outlasts what is tested."""


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with running_postgres() as postgres, running_valkey() as valkey, short_directory() as folder:
        url = postgres.url_of("hikaku")
        upgrade(sqlalchemy_url(url))
        engine = open_engine(sqlalchemy_url(url))
        log = folder / "calls.jsonl"
        restless = chaos("restless", log, latency={"median_ms": 250, "sigma": 0.5},
                         rates={"server_error": 0.3})  # fmt: skip
        restless["retry"] = {"base": 0.2, "cap": 1, "max_attempts": 40}
        endless = chaos("endless", log, latency={"median_ms": 1_000 * LONG, "sigma": 0})
        endless["limits"] = {"concurrency": 1_000}
        quick = chaos("quick", log, latency={"median_ms": 50, "sigma": 0})
        settings = {"HIKAKU_LEASE_SECONDS": "8", "HIKAKU_HEARTBEAT_SECONDS": "2"}
        with cluster(
            folder, url, valkey.broker_url, open_sessions(engine), [restless, endless, quick],
            settings=settings,
        ) as started:  # fmt: skip
            yield started
        engine.dispose()


@pytest.fixture
def calls(running):
    return CallLog(running.directory / "calls.jsonl")


@pytest.fixture
def client(running):
    with api_of(running) as opened:
        yield opened


@contextmanager
def api_of(running: Cluster) -> Iterator[TestClient]:
    context = Context(
        sessions=running.sessions,
        reader=Reader(running.sessions.kw["bind"]),
        queue=Queue(celery_app(running.redis_url)),
        gateway=Gateway(load(running.directory / "gateway.yaml", os.environ)),
        guard=guard_for("127.0.0.1", None),
        version="1",
    )
    with TestClient(create_app(context), base_url="http://127.0.0.1:8420") as opened:
        yield opened


def started_after(calls: CallLog, moment: float, endpoint: str) -> list[float]:
    """Seconds after a moment at which calls arrived at the provider."""
    return [
        event["at"] - moment
        for event in calls.events()
        if event["event"] == "call" and event["endpoint"] == endpoint and event["at"] > moment
    ]


def post(client, job_id, what, body=None):
    answer = client.post(f"/api/v1/jobs/{job_id}/{what}", json=body)
    assert answer.status_code == 202, answer.text
    return time.time()


def test_no_call_starts_later_than_two_seconds_after_a_pause_was_answered(running, client, calls):
    began = time.time()
    job_id = running.submit(spec(rows=numbered_rows(CELLS), endpoints=["restless"]))
    running.wait_done(job_id, CELLS // 6)
    answered = post(client, job_id, "pause")
    time.sleep(3 * LATEST)
    late = started_after(calls, answered, "restless")
    assert [seconds for seconds in late if seconds > LATEST] == []
    assert running.progress(job_id).done < CELLS, "there is something left to pause"
    assert running.state(job_id) is JobState.PAUSED
    post(client, job_id, "resume")
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, CELLS)
    assert calls.answered_more_than_once(since=began) == {}


def test_no_call_starts_later_than_two_seconds_after_a_cancellation(running, client, calls):
    job_id = running.submit(spec(rows=numbered_rows(CELLS), endpoints=["restless"]))
    running.wait_done(job_id, CELLS // 6)
    answered = post(client, job_id, "cancel")
    assert running.wait_final(job_id) is JobState.CANCELLED
    time.sleep(LATEST)
    assert [s for s in started_after(calls, answered, "restless") if s > LATEST] == []
    done = running.progress(job_id).done
    assert CELLS // 6 <= done < CELLS
    with running.sessions() as session:
        kept = select(func.count()).where(CellResult.job_id == job_id)
        assert session.scalar(kept) == done


def test_an_ended_job_grows_and_is_judged_anew_by_real_workers(running, client, calls):
    job_id = running.submit(spec(rows=numbered_rows(40), endpoints=["quick"]))
    assert running.wait_final(job_id) is JobState.COMPLETED
    before = n_asked(calls, "quick")
    post(client, job_id, "extend", {"scorers": [{"type": "exact_match"}]})
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert n_asked(calls, "quick") == before
    post(client, job_id, "extend", {"rows": numbered_rows(60)[40:], "repeats": 2})
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert n_asked(calls, "quick") == before + 80
    assert_every_cell_once(running, job_id, 120)
    with running.sessions() as session:
        judged = select(func.count()).where(Score.job_id == job_id).group_by(Score.scorer)
        assert session.scalars(judged).all() == [120, 120]


def n_asked(calls: CallLog, endpoint: str) -> int:
    """How often an endpoint was asked."""
    return len(started_after(calls, 0, endpoint))


def asked(calls: CallLog, endpoint: str) -> set[str]:
    """Prompts that arrived at an endpoint."""
    return {
        e["prompt"] for e in calls.events() if (e["event"], e["endpoint"]) == ("call", endpoint)
    }


def test_a_small_job_waits_for_no_call_of_a_large_one(running, calls):
    large = running.submit(spec(rows=numbered_rows(6_000), endpoints=["endless"]))
    running.wait(lambda: len(asked(calls, "endless")) >= 800, "workers that are full")
    before = asked(calls, "quick")
    rows = [{"object": f"梨{number}", "expected": ""} for number in range(10)]
    small = running.submit(spec(rows=rows, endpoints=["endless", "quick"]))
    running.wait_done(small, 10)
    mine = asked(calls, "quick") - before
    assert len(mine) == 10
    running.wait(lambda: mine <= asked(calls, "endless"), "its calls to the slow endpoint")
    assert running.progress(large).done == 0, "not one of its calls had ended"

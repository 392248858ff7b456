"""Jobs whose calls are handed over to a vendor's batch API, against a vendor that has both."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from hikaku.errors import InvalidInput
from hikaku.failpoints import Point
from hikaku.jobs import JobState, Outcome
from hikaku.storage import control, standings
from hikaku.storage.connection import open_engine, open_sessions
from hikaku.storage.tables import CellResult, Offload
from tests.integration.test_batches import database
from tests.support.clocks import clocks
from tests.support.database import sqlalchemy_url
from tests.support.jobs import spec, store
from tests.support.services import short_directory
from tests.support.vendors.batches import batch_vendor
from tests.support.workers import assert_every_cell_once, cluster

__all__ = ["database"]

ROWS = 40
VENDORS: dict[str, Any] = {
    "gpt": {"provider": "openai-compatible", "config": {"api_base": "%s/v1", "api_key": "k" * 20}},
    "claude": {
        "provider": "anthropic",
        "config": {"anthropic_api_base": "%s/v1", "anthropic_api_key": "k" * 20},
    },
}


LIMITS = {
    "small-gpt": {"max_requests": 40},
    "small-claude": {"max_bytes": 5_000},
}
"""Endpoints whose vendors take two shards at a time."""


def endpoint(name, url):
    model = VENDORS[name.removeprefix("small-")]
    config = {key: value.replace("%s", url) for key, value in model["config"].items()}
    return {
        "name": name,
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": model["provider"], "name": "m", "config": config},
        "price": {"input_usd_per_million_tokens": 100, "output_usd_per_million_tokens": 300},
        "batch_api": {"enabled": True, **LIMITS.get(name, {})},
    }


@pytest.fixture(scope="module")
def shop():
    with batch_vendor() as running:
        yield running


@pytest.fixture(scope="module")
def town(shop, database, valkey):
    endpoints = [endpoint(name, shop.url) for name in (*VENDORS, *LIMITS)]
    engine = open_engine(sqlalchemy_url(database))
    sessions, broker = open_sessions(engine), valkey.broker_url
    with (
        pytest.MonkeyPatch.context() as environment,
        short_directory() as folder,
    ):
        environment.setenv("HIKAKU_OFFLOAD_POLL_SECONDS", "0.2")
        with cluster(folder, database, broker, sessions, endpoints, workers=1) as started:
            yield started
    engine.dispose()


@pytest.fixture
def vendor(shop):
    shop.open_anew()
    return shop


@pytest.fixture
def running(town, vendor):
    """Workers and one scheduler, ready."""
    alive = [name for name in town.processes if name not in town.killed and "worker" not in name]
    if not alive:
        town.start(f"scheduler-{len(town.processes)}", "scheduler")
        alive = [f"scheduler-{len(town.processes) - 1}"]
    log = town.directory / f"{alive[0]}.log"
    town.wait(
        lambda: "ready." in log.read_text(encoding="utf-8", errors="replace"), "the scheduler"
    )
    return town


def kill_schedulers(running):
    for name, process in running.processes.items():
        if "worker" not in name and process.poll() is None:
            running.kill(name)
            process.wait(10)


def job(name, *, seconds=600, n_rows=ROWS, **changes):
    rows = [{"object": f"{name}-りんご{n}", "expected": "りんご"} for n in range(n_rows)]
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    given = {"prompt": {"template": "{{object}}"}, "rows": rows, "endpoints": [name]}
    return spec(**given, execution="batch", deadline=deadline, **changes)


def totals(running, job_id):
    [found] = running.progress(job_id).endpoints.values()
    return found


def handed_over(running, job_id):
    """Whether the vendor's id is noted."""
    with running.sessions() as session:
        found = session.scalars(select(Offload.vendor_id).where(Offload.job_id == job_id)).all()
    return bool(found) and all(found)


def test_a_vendors_batch_answers_and_what_it_leaves_is_asked_online(running, vendor):
    vendor.expired, vendor.refused, vendor.broken = (
        r"りんご[0-4]$",
        r"りんご1[0-2]$",
        r"りんご2[01]$",
    )
    jobs = {name: running.submit(job(name)) for name in VENDORS}
    for name, job_id in jobs.items():
        assert running.wait_final(job_id) is JobState.COMPLETED_WITH_ERRORS
        assert_every_cell_once(running, job_id, ROWS)
        found = totals(running, job_id)
        assert (found.counts[Outcome.OK], found.counts[Outcome.INVALID_REQUEST]) == (37, 3)
        assert found.repeated_calls == 0
        # Tokens cost 4,000 / 1,000,000 USD a call: 30 at half the price, 7 online.
        assert found.cost_usd == Decimal("0.004") * (30 / Decimal(2) + 7)
        left = {f"{name}-りんご{n}" for n in (0, 1, 2, 3, 4, 20, 21)}
        assert {p for p in vendor.online if p.startswith(name)} == left
    assert len(vendor.batches) == 2
    assert set(vendor.online.values()) == set(vendor.sold().values()) == {1}


def test_a_vendor_that_is_stuck_is_left_before_the_deadline_and_that_is_counted(running, vendor):
    vendor.stuck = True
    job_id = running.submit(job("gpt", seconds=20))
    running.wait(lambda: bool(vendor.batches), "the batch to be handed over")
    running.wait(lambda: running.state(job_id) is JobState.RUNNING, "the job to begin")
    assert not vendor.online
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, ROWS)
    assert [batch.cancelled for batch in vendor.batches.values()] == [True]
    assert sum(vendor.online.values()) == ROWS
    running.wait(lambda: totals(running, job_id).repeated_calls == ROWS, "the calls to be counted")
    assert totals(running, job_id).cost_usd == Decimal("0.004") * ROWS


@pytest.mark.parametrize("name", VENDORS)
def test_a_batch_that_was_taken_and_not_noted_is_found_again(running, vendor, name, monkeypatch):
    vendor.takes, vendor.ahead = 3, timedelta(hours=-1)  # whatever its clock says
    kill_schedulers(running)
    job_id = running.submit(job(name))
    monkeypatch.setenv("HIKAKU_FAILPOINTS", f"{Point.AFTER_HAND_OVER}:kill")
    running.killed.add(f"dying-{name}")
    dying = running.start(f"dying-{name}", "scheduler")
    running.wait(lambda: dying.poll() is not None, "the scheduler to die")
    assert len(vendor.batches) == 1
    with running.sessions() as session:
        offload = session.scalars(select(Offload).where(Offload.job_id == job_id)).one()
    assert (offload.state, offload.vendor_id) == ("handing_over", None)
    monkeypatch.delenv("HIKAKU_FAILPOINTS")
    running.start(f"healthy-{name}", "scheduler")
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, ROWS)
    assert len(vendor.batches) == 1
    assert not vendor.online
    assert totals(running, job_id).repeated_calls == 0
    assert totals(running, job_id).calls == ROWS


@pytest.mark.parametrize("name", VENDORS)
def test_a_batch_is_found_again_though_some_of_it_is_recorded_by_now(
    running, vendor, name, monkeypatch
):
    vendor.takes = 3
    kill_schedulers(running)
    own = {"reuse": "on", "params": {"max_tokens": 77}}  # nobody has recorded these
    job_id = running.submit(job(name, **own))
    monkeypatch.setenv("HIKAKU_FAILPOINTS", f"{Point.AFTER_HAND_OVER}:kill")
    running.killed.add(f"dying-twice-{name}")
    dying = running.start(f"dying-twice-{name}", "scheduler")
    running.wait(lambda: dying.poll() is not None, "the scheduler to die")
    monkeypatch.delenv("HIKAKU_FAILPOINTS")
    rows = job(name, n_rows=5).rows
    online = spec(prompt={"template": "{{object}}"}, rows=rows, endpoints=[name], **own)
    assert running.wait_final(running.submit(online)) is JobState.COMPLETED
    running.start(f"healthy-twice-{name}", "scheduler")
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, ROWS)
    assert len(vendor.batches) == 1


def completions(running, job_id):
    """The text of each cell, by its row."""
    with running.sessions() as session:
        found = select(CellResult.row, CellResult.completion).where(CellResult.job_id == job_id)
        return dict(session.execute(found).all())


@pytest.mark.parametrize("name", LIMITS)
def test_more_than_a_vendor_takes_at_once_is_several_batches_and_one_of_them_fails(
    running, vendor, name
):
    rows, at_once = 160, 32
    vendor.failing = 1
    vendor.refused = r"りんご15[89]$"
    job_id = running.submit(job(name, n_rows=rows))
    assert running.wait_final(job_id) is JobState.COMPLETED_WITH_ERRORS
    assert_every_cell_once(running, job_id, rows)
    batches = list(vendor.batches.values())
    assert [len(batch.requests) for batch in batches] == [at_once] * 5
    assert set(vendor.sold().values()) == {1}
    assert sum(vendor.sold().values()) == rows
    assert vendor.online == Counter(prompt for _, prompt in batches[1].requests)
    texts = completions(running, job_id)
    assert {n for n, text in texts.items() if text is None} == {158, 159}
    ended, given_up = (4, 1) if name == "small-gpt" else (5, 0)
    with running.sessions() as session:
        found = standings.one(session.connection(), job_id).handed_over
    assert found is not None
    assert (found.waiting, found.running, found.ended, found.given_up) == (0, 0, ended, given_up)
    assert found.requests == rows
    assert found.error == ("no such luck" if given_up else None)
    assert all(text in (None, f"{name}-りんご{n}") for n, text in texts.items())
    assert totals(running, job_id).repeated_calls == 0


def test_results_longer_than_any_single_answer_are_read(running, vendor):
    vendor.padding = 300_000  # 40 times 0.9 MB
    for name in VENDORS:
        job_id = running.submit(job(name))
        assert running.wait_final(job_id) is JobState.COMPLETED
        assert {len(text) for text in completions(running, job_id).values()} <= {
            300_000 + len(f"{name}-りんご{n}") for n in (0, 10)
        }
    assert not vendor.online
    assert set(vendor.sold().values()) == {1}


@pytest.mark.parametrize("ahead", [3_600, -3_600])
def test_a_scheduler_whose_clock_is_wrong_keeps_to_the_deadline(running, vendor, tmp_path, ahead):
    wrong = clocks(tmp_path)
    if wrong is None:
        pytest.skip("without a C compiler no clock can be set")
    kill_schedulers(running)
    vendor.takes = 3
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in wrong.environ.items():
            environment.setenv(variable, value)
        scheduler = running.start(f"wrong-{ahead}", "scheduler")
    wrong.jump(scheduler.pid, ahead)
    job_id = running.submit(job("gpt"))
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert [batch.cancelled for batch in vendor.batches.values()] == [False]
    assert not vendor.online


def test_a_cancelled_job_ends_with_its_batch_and_changes_no_more(running, vendor):
    vendor.stuck = True
    job_id = running.submit(job("gpt"))
    running.wait(lambda: handed_over(running, job_id), "the batch to be handed over")
    with running.sessions.begin() as session:
        control.cancel(session, job_id)
    [batch] = vendor.batches.values()
    running.wait(lambda: batch.cancelled, "the batch to be cancelled")
    assert running.state(job_id) is JobState.CANCELLING, "the vendor may still answer, and bill"
    vendor.stuck = False
    assert running.wait_final(job_id) is JobState.CANCELLED
    found = totals(running, job_id)
    assert found.counts[Outcome.OK] == ROWS, "what the vendor has answered all the same"
    assert found.cost_usd == Decimal("0.004") * ROWS / 2
    with running.sessions() as session:
        states = set(session.scalars(select(Offload.state).where(Offload.job_id == job_id)))
    assert states == {"ended"}
    assert not vendor.online


def test_a_job_that_is_cancelled_before_it_is_handed_over_is_not(running, vendor):
    kill_schedulers(running)
    job_id = running.submit(job("gpt"))
    with running.sessions.begin() as session:
        control.cancel(session, job_id)
    running.start(f"scheduler-{len(running.processes)}", "scheduler")
    assert running.wait_final(job_id) is JobState.CANCELLED
    assert not vendor.batches
    assert not vendor.online


def test_a_batch_that_was_taken_and_not_noted_is_found_and_cancelled_with_its_job(
    running, vendor, monkeypatch
):
    kill_schedulers(running)
    vendor.takes = 600
    monkeypatch.setenv("HIKAKU_FAILPOINTS", f"{Point.AFTER_HAND_OVER}:kill")
    name = f"scheduler-{len(running.processes)}"
    running.killed.add(name)
    doomed = running.start(name, "scheduler")
    monkeypatch.delenv("HIKAKU_FAILPOINTS")
    job_id = running.submit(job("gpt"))
    doomed.wait(60)
    [batch] = vendor.batches.values()
    with running.sessions.begin() as session:
        control.cancel(session, job_id)
    running.start(f"scheduler-{len(running.processes)}", "scheduler")
    assert running.wait_final(job_id) is JobState.CANCELLED
    assert batch.cancelled
    assert len(vendor.batches) == 1


def test_a_paused_job_whose_batch_leaves_nothing_is_complete(running, vendor):
    vendor.stuck = True
    job_id = running.submit(job("gpt"))
    running.wait(lambda: handed_over(running, job_id), "the batch to be handed over")
    with running.sessions.begin() as session:
        control.pause(session, job_id)
    vendor.stuck = False
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, ROWS)
    assert not vendor.online


def test_a_paused_job_whose_batch_leaves_something_stays_paused(running, vendor):
    vendor.stuck, vendor.expired = True, r"りんご[0-4]$"
    job_id = running.submit(job("gpt"))
    running.wait(lambda: handed_over(running, job_id), "the batch to be handed over")
    with running.sessions.begin() as session:
        control.pause(session, job_id)
    vendor.stuck = False
    running.wait(lambda: running.progress(job_id).done == ROWS - 5, "the batch to be recorded")
    assert running.state(job_id) is JobState.PAUSED
    with running.sessions.begin() as session:
        control.resume(session, job_id)
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert sum(vendor.online.values()) == 5


def test_an_endpoint_without_the_interface_is_refused_by_name(sessions):
    with pytest.raises(InvalidInput) as refused:
        store(sessions, spec(execution="batch"))
    assert [fault.pointer for fault in refused.value.faults] == ["/endpoints/0", "/endpoints/1"]


def test_auto_asks_online_what_no_vendor_takes(sessions):
    submitted = store(sessions, spec(execution="auto"))
    with sessions() as session:
        assert session.scalars(select(Offload)).all() == []
    assert submitted.hints

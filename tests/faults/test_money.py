"""SIGKILL of workers that hold money or buy for others: nothing is overspent or bought in vain."""

from decimal import Decimal

import pytest

from hikaku.jobs import JobState
from hikaku.storage import budgets, control, jobs, standings
from hikaku.storage.tables import BudgetKind
from tests.support.arena import PAID
from tests.support.jobs import spec
from tests.support.workers import (
    CONCURRENCY,
    CallLog,
    assert_every_cell_once,
    chaos,
    cluster,
    numbered_rows,
)

CELLS = 96
SLOW = {"median_ms": 150, "sigma": 0.3}
PRICE = {"input_usd_per_million_tokens": 0, "output_usd_per_million_tokens": 1_000_000}


@pytest.fixture
def calls(folder):
    return CallLog(folder / "calls.jsonl")


@pytest.fixture
def running(folder, calls, own_postgres, own_valkey, own_sessions):
    endpoint = chaos("a", calls.path, latency=SLOW) | {"price": PRICE}
    database = own_postgres.url_of("hikaku")
    with cluster(folder, database, own_valkey.broker_url, own_sessions, [endpoint]) as started:
        yield started


def rows(n):
    return [{"object": row["object"], "expected": "x"} for row in numbered_rows(n)]


def test_what_a_killed_worker_may_have_spent_stays_spent_and_the_rest_comes_back(running, calls):
    """Each answer is cut at two tokens of one USD."""
    job_id = running.submit(
        spec(rows=rows(CELLS), endpoints=["a"], params={"max_tokens": 2}, budget_usd=10_000)
    )
    running.wait_done(job_id, CELLS // 5)
    running.kill("worker-0")
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert running.progress(job_id).done == CELLS
    with running.sessions() as session:
        funds = budgets.funds(session, BudgetKind.JOB, job_id)
        account = standings.one(session.connection(), job_id).account
    (part,) = running.progress(job_id).endpoints.values()
    assert funds is not None
    assert account is not None
    assert funds.reserved_usd == 0, "what the dead had set aside and not used is free again"
    assert account.unknown_usd == 2 * part.repeated_calls
    assert funds.spent_usd == part.cost_usd + account.unknown_usd
    assert funds.spent_usd >= 2 * calls.calls()


def test_a_small_budget_is_never_overspent_by_processes_that_die(running, calls):
    job_id = running.submit(
        spec(rows=rows(CELLS), endpoints=["a"], params={"max_tokens": 2}, budget_usd=100)
    )
    running.wait_done(job_id, 10)
    running.kill("worker-1")
    running.wait(lambda: running.state(job_id) is JobState.PAUSED, "the job's pause")
    with running.sessions() as session:
        funds = budgets.funds(session, BudgetKind.JOB, job_id)
    assert funds is not None
    assert 2 * calls.calls() <= funds.spent_usd <= Decimal(100)
    assert funds.left_usd < 2


def test_two_jobs_buy_once_though_a_buyer_is_killed(running, calls):
    same = spec(rows=rows(CELLS), endpoints=["a"], reuse="on")
    both = [running.submit(same), running.submit(same)]
    running.wait(lambda: sum(running.progress(one).done for one in both) >= CELLS // 4, "a quarter")
    running.kill("worker-0")
    for job_id in both:
        assert running.wait_final(job_id) is JobState.COMPLETED
        assert_every_cell_once(running, job_id, CELLS)
    dead = running.processes["worker-0"].pid
    again = [pids for pids in calls.askers().values() if len(pids) > 1]
    # An answer may have come that it had not noted yet: what it noted says what was in flight.
    parts = [part for one in both for part in running.progress(one).endpoints.values()]
    in_flight = sum(part.repeated_calls for part in parts)
    assert len(again) <= in_flight <= CONCURRENCY
    assert all(pids[0] == dead and len(pids) == 2 for pids in again)


def test_sixteen_processes_racing_for_1000_units_never_spend_more(place):
    """Each answer costs 3 units of at most 4; what may be billed unseen counts with 4."""
    place.no_workers()
    place.mood(seconds=0.05, seed=3, broken=0.03, cut=0.03)
    racing = place.workers(16)
    place.wait(lambda: joined(place) >= len(racing), "all of them to join")
    terms = {"endpoints": [PAID], "params": {"max_tokens": 4}, "budget_usd": 1_000}
    job = place.submit(1_200, **terms)
    place.wait(lambda: place.state(job) is JobState.PAUSED, "the money to be spent")
    place.wait(lambda: funds(place, job).reserved_usd == 0, "what was set aside to come back")
    asked = place.asked(job)
    assert billed(asked) == funds(place, job).spent_usd <= 1_000
    assert funds(place, job).left_usd < 4, "what was left would have paid for another call"
    assert len({call.caller for call in asked}) > 4, "few raced"
    with place.sessions.begin() as session:
        budgets.set_limit(session, BudgetKind.JOB, job, Decimal(20_000))
        control.resume(session, job)
    place.mood(seconds=0.05)
    place.finish(job)
    assert billed(place.asked(job)) == funds(place, job).spent_usd >= 3_600
    place.no_workers()


def joined(place):
    with place.sessions() as session:
        return len(jobs.queue_depth(session).workers)


def billed(asked):
    """By the provider's own log: answers, and those that were cut off and may have been billed."""
    return sum({200: 3, -1: 4}.get(call.status, 0) for call in asked)


def funds(place, job):
    with place.sessions() as session:
        found = budgets.funds(session, BudgetKind.JOB, job)
    assert found is not None
    return found

"""Budgets: never overspent by any number of workers, paused at, topped up, and told truly."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Lock

import pytest
from sqlalchemy import func, select, text

from gateway.errors import Outcome as GatewayOutcome
from gateway.errors import TimedOut
from gateway.types import AttemptReport, ChatRequest, Completion, Observer, Usage
from hikaku.budgeting import top_up
from hikaku.errors import InvalidInput
from hikaku.ids import new_uuid
from hikaku.jobs import JobState, Outcome
from hikaku.storage import budgets, control, jobs, shards, standings
from hikaku.storage.budgets import Holder
from hikaku.storage.tables import AttemptLine, Budget, BudgetKind, JobEvent, Reservation, Shard
from hikaku.submission import submit
from tests.support.crew import crew
from tests.support.jobs import identities, spec
from tests.support.workers import numbered_rows

MOST = 4
"""Units that one call can cost: max_tokens at one USD each."""


def priced(*names, output="1000000", source="test", most=None):
    return {
        name: identity.model_copy(
            update={
                "input_usd_per_million_tokens": Decimal(0),
                "output_usd_per_million_tokens": Decimal(output),
                "price_source": source,
                "max_output_tokens": most,
            }
        )
        for name, identity in identities(*names).items()
    }


def put(sessions, endpoints=None, **changes):
    given = {"endpoints": ["a"], "params": {"max_tokens": MOST}, "scorers": []} | changes
    with sessions.begin() as session:
        return submit(session, spec(**given), endpoints or priced("a"), slots=4).job_id


@dataclass
class Till:
    """A model that bills, and keeps its own account of it: 1 to 4 units a call."""

    billed: int = 0
    calls: int = 0
    timeouts: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _chance: random.Random = field(default_factory=lambda: random.Random(11))  # noqa: S311

    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        assert request.params == {"max_tokens": MOST}
        assert observer is not None
        observer.sending(1)
        with self._lock:
            tokens = self._chance.randint(1, MOST)
            fails = self._chance.random() < self.timeouts
            self.billed += tokens
            self.calls += 1
        await asyncio.sleep(0.002)
        usage = Usage(input_tokens=3, output_tokens=tokens)
        observer.ended(
            AttemptReport(
                number=1,
                started_at=datetime.now(UTC),
                latency=timedelta(milliseconds=2),
                outcome=GatewayOutcome.TIMEOUT if fails else GatewayOutcome.OK,
                usage=Usage() if fails else usage,
            )
        )
        if fails:
            raise TimedOut("it did not answer in time")
        return Completion(
            text="赤",
            finish_reason="stop",
            usage=usage,
            latency=timedelta(milliseconds=2),
            model=None,
        )


def state(sessions, job_id):
    with sessions() as session:
        return JobState(jobs.get(session, job_id).state)


def rests(sessions, *job_ids):
    return lambda: all(
        state(sessions, one).is_final or state(sessions, one) is JobState.PAUSED for one in job_ids
    )


def test_sixteen_workers_racing_for_1000_units_never_spend_more(sessions, hikaku_url, tmp_path):
    job_id = put(sessions, rows=numbered_rows(1200), budget_usd=1000)
    till = Till(timeouts=0.05)
    with crew(hikaku_url, tmp_path, till, rests(sessions, job_id), 16):
        pass
    with sessions() as session:
        job = jobs.get(session, job_id)
        spent = budgets.funds(session, BudgetKind.JOB, job_id)
        done = jobs.progress(session, [job_id])[job_id]
        raced = session.scalar(select(func.count(Reservation.worker.distinct())))
    assert spent is not None
    assert raced > 1, "nobody raced anybody"
    assert till.billed <= spent.spent_usd <= 1000
    assert spent.reserved_usd == 0
    assert spent.left_usd < MOST, "what was left would have paid for another call"
    assert (job.state, job.paused_for) == (JobState.PAUSED, "budget")
    assert done.done < 1200
    assert sum(part.calls for part in done.endpoints.values()) == till.calls

    with sessions.begin() as session:
        budgets.set_limit(session, BudgetKind.JOB, job_id, Decimal(20_000))
        control.resume(session, job_id)
    with crew(hikaku_url, tmp_path, till, rests(sessions, job_id), 4):
        pass
    with sessions() as session:
        done = jobs.progress(session, [job_id])[job_id]
        spent = budgets.funds(session, BudgetKind.JOB, job_id)
        unknown = standings.one(session.connection(), job_id).account
    assert state(sessions, job_id) is JobState.COMPLETED_WITH_ERRORS
    assert done.done == 1200
    assert spent is not None
    assert unknown is not None
    assert unknown.unknown_usd == MOST * done.count(Outcome.TIMEOUT)
    assert spent.spent_usd == unknown.unknown_usd + sum(p.cost_usd for p in done.endpoints.values())
    assert till.billed <= spent.spent_usd


def test_jobs_of_a_project_share_its_budget(sessions, hikaku_url, tmp_path):
    with sessions.begin() as session:
        budgets.set_limit(session, BudgetKind.PROJECT, "赤", Decimal(100))
    both = [put(sessions, rows=numbered_rows(64), project="赤") for _ in range(2)]
    till = Till()
    with crew(hikaku_url, tmp_path, till, rests(sessions, *both), 4):
        pass
    assert 100 - MOST < till.billed <= 100
    with sessions() as session:
        found = session.scalars(select(JobEvent.data).where(JobEvent.kind == "control")).all()
    reasons = [event["reason"] for event in found if "reason" in event]
    assert reasons
    assert all("project 赤" in reason for reason in reasons)


def test_a_budget_that_suffices_is_not_noticed(sessions, hikaku_url, tmp_path):
    job_id = put(sessions, rows=numbered_rows(40), budget_usd=160)
    till = Till()
    with crew(hikaku_url, tmp_path, till, rests(sessions, job_id), 3):
        pass
    assert state(sessions, job_id) is JobState.COMPLETED
    with sessions() as session:
        spent = budgets.funds(session, BudgetKind.JOB, job_id)
        attempts = session.scalars(select(AttemptLine.reserved_usd)).all()
    assert spent is not None
    assert spent.spent_usd == till.billed
    assert spent.reserved_usd == 0
    assert set(attempts) == {Decimal(MOST)}


def test_without_a_budget_nothing_is_reserved(sessions, hikaku_url, tmp_path):
    job_id = put(sessions, rows=numbered_rows(40))
    with crew(hikaku_url, tmp_path, Till(), rests(sessions, job_id), 2):
        pass
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Reservation)) == 0
        assert set(session.scalars(select(AttemptLine.reserved_usd))) == {None}


class TestWhatCannotBeHeldIsRefused:
    @pytest.mark.parametrize(
        ("endpoints", "changes", "mend"),
        [
            (identities("a"), {}, "`price:`"),
            (priced("a"), {"params": {}}, "`max_tokens`"),
        ],
    )
    def test_at_submission(self, sessions, endpoints, changes, mend):
        with pytest.raises(InvalidInput) as refused:
            put(sessions, endpoints, budget_usd=5, **changes)
        (fault,) = refused.value.faults
        assert fault.pointer == "/budget_usd"
        assert mend in fault.message

    def test_by_the_projects_budget_too(self, sessions):
        with sessions.begin() as session:
            budgets.set_limit(session, BudgetKind.PROJECT, "p", Decimal(1))
        with pytest.raises(InvalidInput, match="project 'p' has a budget"):
            put(sessions, identities("a"), project="p")

    def test_a_model_whose_longest_answer_is_known_needs_no_max_tokens(self, sessions):
        assert put(sessions, priced("a", most=4096), params={}, budget_usd=5)


class TestTheLifeOfAReservation:
    @pytest.fixture
    def held(self, sessions):
        job_id = put(sessions, rows=numbered_rows(2), budget_usd=100)
        worker = new_uuid()
        with sessions.begin() as session:
            shards.join(session, worker, host="h", pid=1, lease=timedelta(seconds=60))
            shard_id = session.scalar(select(Shard.id))
        return Holder(shard_id, 1, job_id, "default"), worker

    def reserve(self, sessions, held, wanted, least=1):
        holder, worker = held
        with sessions.begin() as session:
            return budgets.reserve(
                session, holder, worker, wanted=Decimal(wanted), least=Decimal(least)
            )

    def funds(self, sessions, held):
        with sessions() as session:
            found = budgets.funds(session, BudgetKind.JOB, held[0].job_id)
        assert found is not None
        return found

    def test_a_claim_leaves_most_to_others(self, sessions, held):
        assert self.reserve(sessions, held, 1000) == 25
        assert self.reserve(sessions, held, 1000, least=40) == 40
        assert self.reserve(sessions, held, 1000, least=40) == 0
        assert self.funds(sessions, held).left_usd == 35

    def test_a_dead_workers_reservation_stays_spent_until_its_spool_is_adopted(
        self, sessions, held
    ):
        self.reserve(sessions, held, 20)
        with sessions.begin() as session:
            session.execute(text("update worker set lease_until = now() - interval '1 minute'"))
            assert not budgets.is_spent(session, held[0], Decimal(80))
            assert budgets.is_spent(session, held[0], Decimal(81)), "nobody alive can return it"
        assert self.funds(sessions, held).left_usd == 80
        with sessions.begin() as session:
            budgets.release_dead(session, held[1])
        assert self.funds(sessions, held).left_usd == 100

    def test_money_that_the_living_hold_may_come_back(self, sessions, held):
        self.reserve(sessions, held, 20)
        with sessions.begin() as session:
            assert not budgets.is_spent(session, held[0], Decimal(81))

    def test_a_release_is_counted_once(self, sessions, held):
        self.reserve(sessions, held, 20)
        for _ in range(2):
            with sessions.begin() as session:
                budgets.release(session, held[0].shard_id, held[0].epoch)
        assert self.funds(sessions, held).left_usd == 100

    def test_a_budget_given_while_calls_are_out_is_not_credited_with_them(self, sessions, held):
        self.reserve(sessions, held, 20)
        with sessions.begin() as session:
            budgets.set_limit(session, BudgetKind.PROJECT, "default", Decimal(50))
        with sessions.begin() as session:
            budgets.release(session, held[0].shard_id, held[0].epoch)
            found = session.get_one(Budget, (BudgetKind.PROJECT, "default"))
            assert (found.reserved_usd, found.spent_usd) == (0, 0)

    def test_a_removed_budget_is_forgotten(self, sessions, held):
        self.reserve(sessions, held, 20)
        with sessions.begin() as session:
            assert budgets.remove(session, BudgetKind.JOB, held[0].job_id)
            assert not budgets.remove(session, BudgetKind.JOB, held[0].job_id)
            assert not budgets.is_held(session, held[0].job_id, "default")
            budgets.release(session, held[0].shard_id, held[0].epoch)


class TestAPersonsPauseOfAJobThatItsBudgetStopped:
    @pytest.fixture
    def job_id(self, sessions):
        job_id = put(sessions, rows=numbered_rows(2), budget_usd=5)
        with sessions.begin() as session:
            stopped = control.pause(session, job_id, reason="the budget does not pay")
            stopped.paused_for = "budget"
        return job_id

    def test_is_recorded_and_outlives_a_top_up(self, sessions, job_id):
        with sessions.begin() as session:
            control.pause(session, job_id)
            assert top_up(session, job_id, add=Decimal(100)) == ()
            control.pause(session, job_id)
        with sessions() as session:
            job = jobs.get(session, job_id)
            assert (job.state, job.paused_for) == (JobState.PAUSED, None)
            controls = [e.data for e in jobs.events(session, job_id) if e.kind == "control"]
        assert [told["control"] for told in controls] == ["pause", "pause", "budget"]

    def test_without_it_a_top_up_lets_the_job_go_on(self, sessions, job_id):
        with sessions.begin() as session:
            assert top_up(session, job_id, add=Decimal(100))
        assert state(sessions, job_id) is JobState.QUEUED

    def test_ends_with_a_resume(self, sessions, job_id):
        with sessions.begin() as session:
            control.pause(session, job_id)
            control.resume(session, job_id)
        assert state(sessions, job_id) is JobState.QUEUED

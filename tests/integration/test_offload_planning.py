"""What of a job is set aside for vendors' batches: when it is submitted, extended and retried."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain

import pytest
from sqlalchemy import select

from hikaku.errors import InvalidInput
from hikaku.extension import extend
from hikaku.jobs import Outcome, ShardState
from hikaku.specs import Extension
from hikaku.storage import budgets, control, jobs, recording
from hikaku.storage.tables import BudgetKind, Job, Offload, Shard
from hikaku.submission import submit
from tests.support.jobs import identities, record, spec

KNOWN = {
    name: identity.model_copy(update={"batch_price_factor": Decimal("0.5")})
    for name, identity in identities("a", "b").items()
} | identities("online")


def put(sessions, **changes):
    given = {"endpoints": ["a"], "execution": "batch"} | changes
    with sessions.begin() as session:
        return submit(session, spec(**given), KNOWN)


def added(sessions, job_id, **what):
    with sessions.begin() as session:
        return extend(session, job_id, Extension.model_validate(what), KNOWN)


def set_aside(sessions, job_id):
    """Shards that are in batches, by batch."""
    with sessions() as session:
        found = select(Offload.shards).where(Offload.job_id == job_id).order_by(Offload.id)
        return list(session.scalars(found))


def told(sessions, job_id):
    with sessions() as session:
        return [e.data for e in jobs.events(session, job_id) if e.kind == "control"][-1]


def test_what_is_added_is_handed_over_as_the_rest(sessions):
    job_id = put(sessions).job_id
    before = set_aside(sessions, job_id)
    extended = added(sessions, job_id, repeats=2, endpoints=["b"])
    assert extended.hints == (), "nothing of it is asked online now"
    after = set_aside(sessions, job_id)
    assert after[: len(before)] == before
    with sessions() as session:
        shards = session.scalars(select(Shard.id).where(Shard.job_id == job_id)).all()
    assert sorted(chain.from_iterable(after)) == sorted(shards)
    assert told(sessions, job_id)["in_batches"] == extended.n_cells == 6


def test_where_a_budget_holds_by_now_it_is_asked_online_and_that_is_said(sessions):
    job_id = put(sessions).job_id
    before = set_aside(sessions, job_id)
    with sessions.begin() as session:
        budgets.set_limit(session, BudgetKind.JOB, job_id, Decimal(5))
    extended = added(sessions, job_id, rows=[{"object": "海", "expected": "青"}])
    assert len(extended.hints) == 1
    assert set_aside(sessions, job_id) == before
    assert told(sessions, job_id)["in_batches"] == 0


def test_an_endpoint_that_no_vendor_takes_is_not_added_to_a_job_of_batches(sessions):
    job_id = put(sessions).job_id
    with pytest.raises(InvalidInput) as refused:
        added(sessions, job_id, endpoints=["b", "online"])
    assert [fault.pointer for fault in refused.value.faults] == ["/endpoints/1"]


def test_auto_hands_over_what_it_can_of_what_is_added(sessions):
    job_id = put(sessions, execution="auto").job_id
    assert len(added(sessions, job_id, endpoints=["b", "online"]).hints) == 1
    assert told(sessions, job_id)["in_batches"] == 2


def test_a_job_that_asks_online_says_nothing_of_batches(sessions):
    job_id = put(sessions, execution="online").job_id
    added(sessions, job_id, endpoints=["b"])
    assert "in_batches" not in told(sessions, job_id)


def test_a_retry_is_asked_online_and_says_so(sessions):
    job_id = put(sessions).job_id
    with sessions.begin() as session:
        shard = session.scalars(select(Shard).where(Shard.job_id == job_id)).one()
        made = [
            record(job_id, shard.id, row=row, epoch=0, outcome=Outcome.TIMEOUT) for row in (0, 1)
        ]
        recording.record(session, made)
        shard.state = ShardState.DONE
        session.flush()
        jobs.close_if_ended(session, job_id)
        control.retry_failed(session, job_id)
        assert len(control.publish(session, job_id)) == 1
    assert told(sessions, job_id)["in_batches"] == 0


@pytest.mark.parametrize("execution", ["batch", "auto"])
def test_a_deadline_that_is_over_is_refused(sessions, execution):
    with pytest.raises(InvalidInput) as refused:
        put(sessions, execution=execution, deadline=datetime(2020, 1, 1, tzinfo=UTC))
    assert [fault.pointer for fault in refused.value.faults] == ["/deadline"]
    with sessions() as session:
        assert session.scalars(select(Job)).all() == []

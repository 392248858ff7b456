"""How jobs stand is read in one statement, and says what the tables say."""

from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import ProgrammingError

from api.job_view import job_out
from api.submissions import Submissions
from hikaku.errors import NotFound
from hikaku.extension import extend
from hikaku.specs import Extension
from hikaku.storage import budgets, claims, jobs, recording, standings, tracking
from hikaku.storage.budgets import Holder
from hikaku.storage.tables import BudgetKind, Job, Shard
from tests.support.jobs import identities, record, spec, store

WORKER = uuid4()


@contextmanager
def counted(sessions):
    """Collect the statements that are sent meanwhile."""
    sent: list[str] = []
    engine = sessions.kw["bind"]

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def show(sessions, job_id, known):
    with sessions() as session:
        return job_out(session.connection(), job_id, known, mlflow=True, now=datetime.now(UTC))


def test_a_job_that_was_looked_at_is_read_in_one_statement(sessions):
    job_id = store(sessions, spec()).job_id
    known = Submissions()
    first = show(sessions, job_id, known)
    with counted(sessions) as sent:
        again = show(sessions, job_id, known)
    assert len(sent) == 1
    assert again == first


def test_what_was_submitted_is_sent_again_only_when_it_has_grown(sessions):
    job_id = store(sessions, spec(endpoints=["a"])).job_id
    known = Submissions()
    assert [e.name for e in show(sessions, job_id, known).endpoints] == ["a"]
    with sessions.begin() as session:
        extend(session, job_id, Extension(endpoints=("b",)), identities("a", "b"), slots=2)
    with counted(sessions) as sent:
        shown = show(sessions, job_id, known)
        show(sessions, job_id, known)
    assert [e.name for e in shown.endpoints] == ["a", "b"]
    assert len(shown.extensions) == 1
    assert len(sent) == 3, "one that finds it unknown, one that brings it, one that needs nothing"


def test_what_is_known_is_bounded_and_the_oldest_goes_first(sessions):
    job_ids = [store(sessions, spec(name=f"job {n}")).job_id for n in range(3)]
    with sessions() as session:
        sizes = [
            len(bytes(one.snapshot))
            for one in standings.of(session.connection(), job_ids, whole=True)
        ]
    known = Submissions(most_bytes=max(sizes) * 2)
    for job_id in (*job_ids[:2], job_ids[0], job_ids[2]):
        show(sessions, job_id, known)
    with counted(sessions) as sent:
        show(sessions, job_ids[0], known)
        show(sessions, job_ids[2], known)
    assert len(sent) == 2
    with counted(sessions) as sent:
        show(sessions, job_ids[1], known)
    assert len(sent) == 2, "the one that was looked at longest ago is no longer known"


def test_jobs_stand_in_their_order_whatever_was_asked_first(sessions):
    older, newer = store(sessions, spec()).job_id, store(sessions, spec()).job_id
    with sessions() as session:
        assert [one.id for one in standings.of(session.connection(), [older, newer])] == [
            newer,
            older,
        ]
        with pytest.raises(NotFound):
            standings.one(session.connection(), "job_" + "0" * 26)


def test_a_standing_says_what_the_tables_say(sessions):
    job_id = store(sessions, spec(endpoints=["a"])).job_id
    with sessions.begin() as session:
        shard_id = session.scalars(select(Shard.id).where(Shard.job_id == job_id)).one()
        assert claims.claim(session, shard_id, WORKER) is not None
        budgets.set_limit(session, BudgetKind.JOB, job_id, Decimal(10))
        budgets.set_limit(session, BudgetKind.PROJECT, "default", Decimal(20))
        holder = Holder(shard_id, 1, job_id, "default")
        budgets.reserve(session, holder, WORKER, wanted=Decimal(2), least=Decimal(1))
        recording.record(session, [record(job_id, shard_id)])
        tracking.put(session, job_id)
    with sessions() as session:
        one = standings.one(session.connection(), job_id, after_seq=0)
        job = session.get_one(Job, job_id)
        assert one.progress == jobs.progress(session, [job_id])[job_id]
        assert one.progress.done == 1
        assert one.progress.in_hand == job.n_cells - 1
        assert one.budget == budgets.funds(session, BudgetKind.JOB, job_id)
        assert one.project_budget == budgets.funds(session, BudgetKind.PROJECT, "default")
        assert one.budget is not None
        assert one.budget.reserved_usd == 2
        assert one.account is not None
        assert one.account.reserved_usd == 2
        assert one.tracked is not None
        assert one.tracked.state == "pending"
        same = ("name", "project", "state", "priority", "round", "n_cells", "created_at")
        assert [getattr(one, name) for name in same] == [getattr(job, name) for name in same]
        events = jobs.events(session, job_id)
        assert [(e.seq, e.kind, e.data, e.at) for e in one.events or ()] == [
            (e.seq, e.kind, e.data, e.at) for e in events
        ]
        assert standings.one(session.connection(), job_id, after_seq=events[-1].seq).events is None


def test_a_read_that_meets_a_dead_connection_is_asked_once_more(sessions, reader):
    job_id = store(sessions, spec()).job_id

    def name(asked):
        asks.append(asked)
        return standings.one(asked, job_id).name

    asks: list[object] = []
    first = reader.read(name)
    with sessions.begin() as session:
        killed = session.execute(
            text(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        ).all()
    assert (True,) in killed
    assert reader.read(name) == first
    assert len(asks) == 3


def test_a_read_that_is_wrong_is_not_asked_again(reader):
    asks: list[object] = []

    def wrong(asked):
        asks.append(asked)
        asked.exec_driver_sql("select nonsense")

    with pytest.raises(ProgrammingError):
        reader.read(wrong)
    assert len(asks) == 1

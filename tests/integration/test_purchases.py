"""Identical cells are bought once, whichever jobs, shards and workers ask for them at once."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text

from gateway.errors import Outcome as GatewayOutcome
from gateway.errors import TimedOut
from gateway.types import AttemptReport, ChatRequest, Completion, Observer, Usage
from hikaku.ids import new_uuid
from hikaku.jobs import JobState
from hikaku.storage import completions, jobs, shards
from hikaku.storage.tables import InFlightCompletion, Shard
from tests.support.crew import crew
from tests.support.jobs import spec, store
from tests.support.workers import numbered_rows


@dataclass
class Parrot:
    """A slow model that notes what it was asked, and fails the first time where it is told to."""

    fails_once: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)

    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        assert observer is not None
        observer.sending(1)
        prompt = request.messages[0].content
        self.asked[prompt] += 1
        fails = prompt in self.fails_once and self.asked[prompt] == 1
        await asyncio.sleep(0.05)
        usage = Usage(input_tokens=1, output_tokens=1)
        observer.ended(
            AttemptReport(
                number=1,
                started_at=datetime.now(UTC),
                latency=timedelta(milliseconds=50),
                outcome=GatewayOutcome.TIMEOUT if fails else GatewayOutcome.OK,
                usage=usage,
            )
        )
        if fails:
            raise TimedOut("it did not answer in time")
        return Completion(
            text=prompt, finish_reason="stop", usage=usage, latency=timedelta(0), model=None
        )


def submitted(sessions, rows, **changes):
    job = spec(rows=rows, endpoints=["a"], reuse="on", scorers=[], **changes)
    return store(sessions, job, ["a"]).job_id


def are_over(sessions, *job_ids):
    def over():
        with sessions() as session:
            return all(JobState(jobs.get(session, one).state).is_final for one in job_ids)

    return over


def test_two_jobs_at_once_buy_each_completion_once(sessions, hikaku_url, tmp_path):
    rows = numbered_rows(120)
    both = [submitted(sessions, rows), submitted(sessions, list(reversed(rows)))]
    parrot = Parrot()
    with crew(hikaku_url, tmp_path, parrot, are_over(sessions, *both), 4):
        pass
    assert sum(parrot.asked.values()) == len(parrot.asked) == 120
    with sessions() as session:
        found = jobs.progress(session, both)
        left = session.scalar(select(func.count()).select_from(InFlightCompletion))
    assert sum(p.endpoints[0].reused for p in found.values()) == 120
    assert all(p.done == 120 and not p.failed for p in found.values())
    assert left == 0


def test_equal_rows_of_one_job_are_bought_once(sessions, hikaku_url, tmp_path):
    job_id = submitted(sessions, numbered_rows(3) * 20)
    parrot = Parrot()
    with crew(hikaku_url, tmp_path, parrot, are_over(sessions, job_id), 2):
        pass
    assert sum(parrot.asked.values()) == 3


def test_who_waited_for_one_that_failed_asks_itself(sessions, hikaku_url, tmp_path):
    rows = numbered_rows(10)
    first = f"{rows[0]['object']}は何色ですか?"
    both = [submitted(sessions, rows), submitted(sessions, rows)]
    parrot = Parrot(fails_once={first})
    with crew(hikaku_url, tmp_path, parrot, are_over(sessions, *both), 2):
        pass
    assert parrot.asked.pop(first) == 2
    assert set(parrot.asked.values()) == {1}


class TestClaimsOnHashes:
    def claimed(self, sessions):
        job_id = store(sessions, spec()).job_id
        worker = new_uuid()
        with sessions.begin() as session:
            shards.join(session, worker, host="h", pid=1, lease=timedelta(seconds=60))
            ids = session.scalars(select(Shard.id).where(Shard.job_id == job_id)).all()
            session.execute(
                text("update shard set state = 'running', owner = :w, epoch = 1"), {"w": worker}
            )
        return ids

    def sort_out(self, sessions, shard_id, epoch=1, hashes=(b"x", b"y")):
        with sessions.begin() as session:
            return completions.sort_out(session, list(hashes), shard_id, epoch).ours

    def test_one_claims_and_the_other_waits(self, sessions):
        one, other = self.claimed(sessions)
        assert self.sort_out(sessions, one, hashes=[b"x"]) == {b"x"}
        assert self.sort_out(sessions, other) == {b"y"}
        assert self.sort_out(sessions, one) == {b"x"}

    def test_a_dead_buyer_is_taken_over_from(self, sessions):
        one, other = self.claimed(sessions)
        self.sort_out(sessions, one)
        with sessions.begin() as session:
            session.execute(text("update worker set lease_until = now() - interval '1 s'"))
        assert self.sort_out(sessions, other) == {b"x", b"y"}

    def test_a_buyer_that_lost_its_shard_is_taken_over_from(self, sessions):
        one, other = self.claimed(sessions)
        self.sort_out(sessions, one)
        with sessions.begin() as session:
            session.execute(text("update shard set epoch = 2 where id = :s"), {"s": one})
        assert self.sort_out(sessions, other) == {b"x", b"y"}

    def test_what_a_ghost_lets_go_is_not_its_heirs(self, sessions):
        one, other = self.claimed(sessions)
        with sessions.begin() as session:
            session.execute(text("update shard set epoch = 2 where id = :s"), {"s": one})
        self.sort_out(sessions, one, epoch=2)
        with sessions.begin() as session:
            completions.let_go(session, one, 1)
        assert self.sort_out(sessions, other) == set()
        with sessions.begin() as session:
            session.execute(text("update shard set state = 'done' where id = :s"), {"s": one})
            completions.forget_purchases(session)
            assert session.scalar(select(func.count()).select_from(InFlightCompletion)) == 0

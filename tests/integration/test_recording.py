from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select, text

from hikaku.errors import InvalidInput
from hikaku.ids import new_uuid
from hikaku.jobs import AttemptOutcome, CellCalls, JobState, Outcome
from hikaku.storage import claims, control, jobs, recording, results, shards
from hikaku.storage.results import CellKey
from hikaku.storage.tables import AttemptLine, CellResult, Score, Shard
from hikaku.storage.work import left_to_do
from tests.support.jobs import record, spec, store

LEASE = timedelta(seconds=30)


@pytest.fixture
def submitted(sessions):
    return store(sessions, spec())


def shard_of(sessions, job_id, endpoint=0):
    with sessions() as session:
        return session.scalars(
            select(Shard.id).where(Shard.job_id == job_id, Shard.endpoint == endpoint)
        ).first()


def put(sessions, *records):
    with sessions.begin() as session:
        recording.record(session, records)


def tables_agree(sessions, job_id):
    """The counters of the shards equal what the rows say."""
    with sessions() as session:
        progress = jobs.progress(session, [job_id])[job_id]
        counted = dict(
            session.execute(
                select(CellResult.outcome, func.count())
                .where(CellResult.job_id == job_id)
                .group_by(CellResult.outcome)
            ).all()
        )
        calls = session.scalar(
            select(func.count()).select_from(AttemptLine).where(AttemptLine.job_id == job_id)
        )
    assert {o: n for o in Outcome if (n := progress.count(o))} == counted
    assert sum(endpoint.calls for endpoint in progress.endpoints.values()) == calls
    return progress


def test_a_job_that_is_too_large_is_refused_before_anything_is_planned(sessions, monkeypatch):
    monkeypatch.setattr("hikaku.resolving.MAX_CELLS", 7)
    store(sessions, spec(repeats=1))
    with pytest.raises(InvalidInput, match="2 rows x 2 endpoints x 2 repeats are 8 cells"):
        store(sessions, spec(repeats=2))
    with sessions() as session:
        assert len(jobs.listing(session.connection())) == 1


def test_a_batch_is_recorded_with_its_attempts_scores_and_counters(sessions, submitted):
    shard = shard_of(sessions, submitted.job_id)
    put(sessions, record(submitted.job_id, shard, row=0), record(submitted.job_id, shard, row=1))
    progress = tables_agree(sessions, submitted.job_id)
    assert progress.done == 2
    assert progress.endpoints[0].input_tokens == 14
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Score)) == 2


def test_recording_again_changes_nothing(sessions, submitted):
    shard = shard_of(sessions, submitted.job_id)
    first = record(submitted.job_id, shard, completion="最初")
    put(sessions, first)
    put(sessions, replace(first, completion="二度目"), record(submitted.job_id, shard, row=1))
    progress = tables_agree(sessions, submitted.job_id)
    assert progress.done == 2
    with sessions() as session:
        job = jobs.get(session, submitted.job_id)
        assert [cell.completion for cell in results.cells(session, job)] == ["最初", "赤"]


def test_a_retry_replaces_a_failure_and_never_an_answer(sessions, submitted):
    shard = shard_of(sessions, submitted.job_id)
    job_id = submitted.job_id
    put(
        sessions,
        record(job_id, shard, row=0, outcome=Outcome.TIMEOUT),
        record(job_id, shard, row=1, completion="最初"),
    )
    put(
        sessions,
        record(job_id, shard, row=0, round=1, epoch=2),
        record(job_id, shard, row=1, round=1, epoch=2, completion="二度目"),
    )
    progress = tables_agree(sessions, job_id)
    assert (progress.done, progress.failed, progress.count(Outcome.OK)) == (2, 0, 2)
    with sessions() as session:
        job = jobs.get(session, job_id)
        cells = results.cells(session, job)
        assert [cell.completion for cell in cells] == ["赤", "最初"]
        assert [len(cell.scores) for cell in cells] == [1, 1]


def test_one_cell_twice_in_a_batch_is_recorded_once(sessions, submitted):
    shard = shard_of(sessions, submitted.job_id)
    early = record(submitted.job_id, shard, completion="最初")
    late = replace(early, address=replace(early.address, epoch=2), completion="二度目")
    put(sessions, early, late)
    progress = tables_agree(sessions, submitted.job_id)
    assert (progress.done, progress.endpoints[0].calls) == (1, 2)


def test_calls_of_a_dead_worker_are_counted_once(sessions, submitted):
    shard = shard_of(sessions, submitted.job_id)
    ended = record(submitted.job_id, shard)
    lost = replace(ended.attempts[0], outcome=AttemptOutcome.UNKNOWN)
    calls = CellCalls(address=ended.address, attempts=(lost,))
    for _ in range(2):
        with sessions.begin() as session:
            recording.add_calls(session, [calls])
    progress = tables_agree(sessions, submitted.job_id)
    assert progress.endpoints[0].repeated_calls == 1
    assert progress.done == 0


def test_an_answer_that_comes_second_is_counted_as_a_repeated_call(sessions, submitted):
    shard_id = shard_of(sessions, submitted.job_id)
    first = record(submitted.job_id, shard_id, epoch=2)
    of_a_zombie = record(submitted.job_id, shard_id, epoch=1, completion="青")
    for one in (first, of_a_zombie, of_a_zombie):
        put(sessions, one)
    progress = tables_agree(sessions, submitted.job_id)
    assert progress.endpoints[0].calls == 2
    assert progress.endpoints[0].repeated_calls == 1


@pytest.mark.parametrize(
    "text_", ["りんご", "👩‍👩‍👧‍👦", "é e\u0301", "\u202eabc\u202c", 'a"\\\n\t']
)
def test_every_text_is_read_back_as_it_was_recorded(sessions, submitted, text_):
    shard = shard_of(sessions, submitted.job_id)
    put(sessions, record(submitted.job_id, shard, completion=text_))
    with sessions() as session:
        (cell,) = results.cells(session, jobs.get(session, submitted.job_id))
    assert cell.completion == text_
    assert cell.variables == {"object": "りんご", "expected": "赤"}


def test_pages_follow_each_other_without_gap_or_overlap(sessions, submitted):
    for endpoint in (0, 1):
        shard = shard_of(sessions, submitted.job_id, endpoint)
        put(
            sessions,
            *[record(submitted.job_id, shard, endpoint=endpoint, row=row) for row in (0, 1)],
        )
    with sessions() as session:
        job = jobs.get(session, submitted.job_id)
        seen: list[CellKey] = []
        while page := results.cells(session, job, after=seen[-1] if seen else None, limit=1):
            seen += [cell.key for cell in page]
        streamed = [cell.key for cell in results.stream(session, jobs.get(session, job.id))]
    assert seen == streamed == [CellKey(e, r, 0) for e in (0, 1) for r in (0, 1)]


class TestTheLifeOfAShard:
    def join(self, sessions, lease=LEASE):
        worker = new_uuid()
        with sessions.begin() as session:
            shards.join(session, worker, host="here", pid=1, lease=lease)
        return worker

    def claim(self, sessions, shard, worker):
        with sessions.begin() as session:
            return claims.claim(session, shard, worker)

    def test_a_shard_is_claimed_once(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        assert self.claim(sessions, shard, self.join(sessions)) is not None
        assert self.claim(sessions, shard, self.join(sessions)) is None
        with sessions() as session:
            assert jobs.get(session, submitted.job_id).state == JobState.RUNNING

    def test_who_has_finished_goes_on_with_the_first_in_line(self, sessions, submitted):
        urgent = store(sessions, spec(priority=0, endpoints=["a"]), ["a"])
        worker = self.join(sessions)
        claimed = []
        for _ in range(4):
            with sessions.begin() as session:
                claimed.append(claims.claim_next(session, worker))
        jobs_in_line = [claim.job_id if claim else None for claim in claimed]
        assert jobs_in_line == [urgent.job_id, submitted.job_id, submitted.job_id, None]

    def test_recorded_cells_are_not_in_the_work_list(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        put(sessions, record(submitted.job_id, shard, row=0))
        claim = self.claim(sessions, shard, self.join(sessions))
        with sessions() as session:
            assert [work.row for work in left_to_do(session, claim.shard_id)] == [1]

    def test_a_shard_that_lacks_a_result_cannot_be_completed(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        worker = self.join(sessions)
        claim = self.claim(sessions, shard, worker)
        put(sessions, record(submitted.job_id, shard, row=0))
        with sessions.begin() as session:
            assert not shards.complete(session, claim, worker)
        put(sessions, record(submitted.job_id, shard, row=1))
        with sessions.begin() as session:
            assert shards.complete(session, claim, worker)

    def test_a_shard_of_a_dead_worker_is_taken_back_and_its_ghost_is_fenced(
        self, sessions, submitted
    ):
        shard = shard_of(sessions, submitted.job_id)
        dead = self.join(sessions, lease=timedelta(seconds=-1))
        old = self.claim(sessions, shard, dead)
        with sessions.begin() as session:
            assert shards.reap(session, grace=timedelta(0)) == [shard]
        heir = self.join(sessions)
        new = self.claim(sessions, shard, heir)
        assert new.epoch == old.epoch + 1
        put(sessions, *[record(submitted.job_id, shard, row=row) for row in (0, 1)])
        with sessions.begin() as session:
            assert not shards.complete(session, old, dead)
            assert shards.complete(session, new, heir)

    def test_a_worker_that_is_known_to_be_dead_loses_its_shards_and_no_other_does(
        self, sessions, submitted
    ):
        dead, alive = self.join(sessions), self.join(sessions)
        theirs = [shard_of(sessions, submitted.job_id, endpoint) for endpoint in (0, 1)]
        for shard, worker in zip(theirs, (dead, alive), strict=True):
            self.claim(sessions, shard, worker)
        expired = self.join(sessions, lease=timedelta(seconds=-1))
        with sessions.begin() as session:
            assert shards.release_dead(session, dead) == [theirs[0]]
            assert shards.release_dead(session, expired) == []

    def test_a_shard_whose_owner_is_forgotten_is_taken_back(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        self.claim(sessions, shard, self.join(sessions))
        with sessions.begin() as session:
            session.execute(text("update worker set lease_until = now() - interval '2 days'"))
            shards.forget_workers(session)
            assert session.scalar(text("select count(*) from worker")) == 1
            session.execute(text("delete from worker"))
            assert shards.reap(session, grace=timedelta(0)) == [shard]

    def test_a_shard_held_without_knowing_is_handed_back(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        worker = self.join(sessions)
        claim = self.claim(sessions, shard, worker)
        with sessions.begin() as session:
            shards.disown(session, shard, claim.epoch, worker)
        assert self.claim(sessions, shard, worker).epoch == claim.epoch + 1

    def test_nothing_is_reaped_right_after_postgres_came_back(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        self.claim(sessions, shard, self.join(sessions, lease=timedelta(seconds=-1)))
        with sessions.begin() as session:
            assert shards.reap(session, grace=timedelta(days=1)) == []

    def test_a_shard_that_kills_its_workers_dies_and_fails_its_job(self, sessions, submitted):
        with sessions.begin() as session:
            session.execute(text("update shard set claims = 19"))
        for endpoint in (0, 1):
            worker = self.join(sessions, lease=timedelta(seconds=-1))
            self.claim(sessions, shard_of(sessions, submitted.job_id, endpoint), worker)
        with sessions.begin() as session:
            shards.reap(session, grace=timedelta(0))
            assert jobs.close_if_ended(session, submitted.job_id) is JobState.FAILED

    def test_hints_are_published_once_until_they_are_lost(self, sessions, submitted):
        with sessions.begin() as session:
            assert shards.to_publish(session, window=64, again=False) == []
            again = shards.to_publish(session, window=64, again=True)
        assert {hint.shard_id for hint in again} == {hint.shard_id for hint in submitted.hints}

    def test_cancelling_an_unclaimed_job_ends_it_at_once(self, sessions, submitted):
        with sessions.begin() as session:
            job = control.cancel(session, submitted.job_id)
            assert job.state == JobState.CANCELLED

    def test_cancelling_does_not_wait_for_a_claim_that_is_under_way(self, sessions, submitted):
        shard = shard_of(sessions, submitted.job_id)
        worker = self.join(sessions)
        with sessions.begin() as claiming:
            claiming.execute(select(Shard).where(Shard.id == shard).with_for_update())
            with sessions.begin() as session:
                session.execute(text("set local lock_timeout = '2s'"))
                job = control.cancel(session, submitted.job_id)
                assert job.state == JobState.CANCELLING
            assert claims.claim(claiming, shard, worker) is None
        with sessions.begin() as session:
            control.cancel_unclaimed(session)
            assert jobs.close_if_ended(session, submitted.job_id) is JobState.CANCELLED

    def ended(self, sessions, job_id, outcomes):
        """End a job of one endpoint with these outcomes, by row."""
        shard = shard_of(sessions, job_id)
        worker = self.join(sessions)
        claim = self.claim(sessions, shard, worker)
        put(
            sessions,
            *[record(job_id, shard, row=row, outcome=one) for row, one in enumerate(outcomes)],
        )
        with sessions.begin() as session:
            assert shards.complete(session, claim, worker)
            return jobs.close_if_ended(session, job_id)

    def test_an_answer_of_an_earlier_retry_is_not_bought_again(self, sessions):
        job_id = store(sessions, spec(endpoints=["a"]), ["a"]).job_id
        self.ended(sessions, job_id, [Outcome.TIMEOUT, Outcome.OK])
        with sessions.begin() as session:
            control.retry_failed(session, job_id)
            (first,) = shards.to_publish(session, window=64, again=False)
        with sessions.begin() as session:
            control.cancel(session, job_id)
            control.retry_failed(session, job_id)
            (second,) = shards.to_publish(session, window=64, again=False)
        put(sessions, record(job_id, first.shard_id, row=0, round=1))
        worker = self.join(sessions)
        claim = self.claim(sessions, second.shard_id, worker)
        with sessions.begin() as session:
            assert left_to_do(session, claim.shard_id) == []
            assert shards.complete(session, claim, worker)
            assert jobs.close_if_ended(session, job_id) is JobState.COMPLETED

    def test_a_cancelled_job_does_not_end_complete_by_a_retry(self, sessions):
        job_id = store(sessions, spec(endpoints=["a", "b"])).job_id
        shard = shard_of(sessions, job_id)
        worker = self.join(sessions)
        claim = self.claim(sessions, shard, worker)
        put(
            sessions,
            record(job_id, shard, row=0, outcome=Outcome.TIMEOUT),
            record(job_id, shard, row=1),
        )
        with sessions.begin() as session:
            shards.complete(session, claim, worker)
            assert control.cancel(session, job_id).state == JobState.CANCELLED
            control.retry_failed(session, job_id)
            (again,) = shards.to_publish(session, window=64, again=False)
        claim = self.claim(sessions, again.shard_id, worker)
        put(sessions, record(job_id, again.shard_id, row=0, round=1))
        with sessions.begin() as session:
            assert shards.complete(session, claim, worker)
            assert jobs.close_if_ended(session, job_id) is JobState.CANCELLED

    def test_failed_cells_of_an_ended_job_are_asked_again(self, sessions, submitted):
        for endpoint in (0, 1):
            shard = shard_of(sessions, submitted.job_id, endpoint)
            worker = self.join(sessions)
            claim = self.claim(sessions, shard, worker)
            outcome = Outcome.TIMEOUT if endpoint else Outcome.OK
            put(
                sessions,
                *[
                    record(submitted.job_id, shard, endpoint=endpoint, row=row, outcome=outcome)
                    for row in (0, 1)
                ],
            )
            with sessions.begin() as session:
                shards.complete(session, claim, worker)
        with sessions.begin() as session:
            closed = jobs.close_if_ended(session, submitted.job_id)
            assert closed is JobState.COMPLETED_WITH_ERRORS
            job, n = control.retry_failed(session, submitted.job_id)
            assert (job.state, n) == (JobState.QUEUED, 2)
            (hint,) = shards.to_publish(session, window=64, again=False)
        worker = self.join(sessions)
        claim = self.claim(sessions, hint.shard_id, worker)
        with sessions() as session:
            assert [work.row for work in left_to_do(session, claim.shard_id)] == [0, 1]
        put(
            sessions,
            *[
                record(submitted.job_id, hint.shard_id, endpoint=1, row=row, round=1)
                for row in (0, 1)
            ],
        )
        with sessions.begin() as session:
            assert shards.complete(session, claim, worker)
            assert jobs.close_if_ended(session, submitted.job_id) is JobState.COMPLETED
        tables_agree(sessions, submitted.job_id)

"""Summaries of shards say what the rows say, at every moment of a job."""

import math
from collections import defaultdict
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import select

from hikaku.jobs import CellScore, Outcome, ShardState
from hikaku.storage import claims, comparisons, jobs, recording, shards, summaries
from hikaku.storage.tables import CellResult, Score, Shard, ShardSummary
from tests.support.jobs import record, spec, store

ROWS = 40
WORKER = uuid4()


def submitted(sessions, **changes):
    rows = [{"object": f"りんご{n}", "expected": "赤"} for n in range(ROWS)]
    return store(sessions, spec(rows=rows, **changes)).job_id


def shards_of(sessions, job_id):
    with sessions() as session:
        return list(session.scalars(select(Shard).where(Shard.job_id == job_id).order_by(Shard.id)))


def put(sessions, records):
    with sessions.begin() as session:
        recording.record(session, records)


def finish(sessions, shard_id):
    with sessions.begin() as session:
        claim = claims.claim(session, shard_id, WORKER)
        assert claim is not None
        shards.join(session, WORKER, host="here", pid=1, lease=timedelta(seconds=60))
        return shards.complete(session, claim, WORKER)


def from_rows(sessions, job_id):
    """What the columns must say, computed from the cells one by one."""
    with sessions() as session:
        cells = session.scalars(select(CellResult).where(CellResult.job_id == job_id)).all()
        scores = session.scalars(select(Score).where(Score.job_id == job_id)).all()
    latencies: dict[int, list[float]] = defaultdict(list)
    by_row: dict[tuple[int, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        if cell.latency_ms is not None and not cell.reused:
            latencies[cell.endpoint].append(cell.latency_ms)
    for score in scores:
        if score.value is not None:
            by_row[score.endpoint, score.scorer][score.row].append(score.value)
    return latencies, by_row


def assert_the_summaries_say_what_the_rows_say(sessions, job_id):
    latencies, by_row = from_rows(sessions, job_id)
    with sessions() as session:
        columns = comparisons.column_scores(session, jobs.get(session, job_id))
    for endpoint, column in enumerate(columns):
        assert sorted(column.latencies_ms) == pytest.approx(sorted(latencies[endpoint]))
        for scorer, scores in enumerate(column.scores.values()):
            expected = by_row[endpoint, scorer]
            assert scores.n_scored == sum(map(len, expected.values()))
            for row, mean in enumerate(scores.means):
                if row in expected:
                    assert mean == pytest.approx(np.mean(expected[row]))
                else:
                    assert math.isnan(mean)


def stored(sessions, job_id):
    with sessions() as session:
        found = session.scalars(
            select(ShardSummary)
            .where(ShardSummary.job_id == job_id)
            .order_by(ShardSummary.shard_id)
            .execution_options(populate_existing=True)
        )
        return [(s.shard_id, s.stale, s.rows, s.latencies, s.scores) for s in found]


values = st.one_of(st.none(), st.sampled_from([0.0, 1.0]), st.floats(0, 1))
endings = st.tuples(st.sampled_from([Outcome.OK, Outcome.TIMEOUT, Outcome.MALFORMED]), values)


@settings(
    max_examples=8,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=st.lists(endings, min_size=ROWS, max_size=ROWS),
    retried=st.lists(endings, min_size=ROWS, max_size=ROWS),
    unfinished=st.integers(0, 3),
)
def test_summaries_equal_the_rows_before_and_after_a_retry(sessions, first, retried, unfinished):
    job_id = submitted(sessions, endpoints=["a"])
    planned = shards_of(sessions, job_id)
    for shard in planned[unfinished:]:
        rows = range(shard.row_from, shard.row_to)
        put(sessions, [ending(job_id, shard.id, row, *first[row]) for row in rows])
        assert finish(sessions, shard.id)
    assert_the_summaries_say_what_the_rows_say(sessions, job_id)
    for shard in planned[:unfinished]:
        rows = range(shard.row_from, shard.row_to)
        put(sessions, [ending(job_id, shard.id, row, *first[row]) for row in rows][1:])
        assert_the_summaries_say_what_the_rows_say(sessions, job_id)
        put(sessions, [ending(job_id, shard.id, row, *first[row]) for row in rows][:1])
        assert finish(sessions, shard.id)
    failed = [row for row in range(ROWS) if first[row][0].is_failed]
    if failed:
        again = retry_shard(sessions, job_id, failed)
        put(sessions, [ending(job_id, again, row, *retried[row], number=1) for row in failed])
        assert_the_summaries_say_what_the_rows_say(sessions, job_id)
        assert finish(sessions, again)
    assert_the_summaries_say_what_the_rows_say(sessions, job_id)
    refreshed(sessions)
    assert_the_summaries_say_what_the_rows_say(sessions, job_id)
    incremental = stored(sessions, job_id)
    rebuild(sessions, job_id)
    assert stored(sessions, job_id) == incremental


def rebuild(sessions, job_id):
    """Sum up every finished shard again, from its rows."""
    with sessions.begin() as session:
        done = select(Shard.id).where(Shard.job_id == job_id, Shard.state == ShardState.DONE)
        summaries.keep(session, list(session.scalars(done)))


def retry_shard(sessions, job_id, rows):
    with sessions.begin() as session:
        shard = Shard(
            job_id=job_id,
            endpoint=0,
            row_from=rows[0],
            row_to=rows[-1] + 1,
            repeat_to=1,
            rows=rows,
            repeats=[0] * len(rows),
            round=1,
            n_cells=len(rows),
            state=ShardState.QUEUED,
            priority=5,
        )
        session.add(shard)
        session.flush()
        return shard.id


def ending(job_id, shard_id, row, outcome, score, *, number=0):
    made = record(
        job_id, shard_id, row=row, round=number, outcome=outcome, score=score, epoch=1 + number
    )
    return made if outcome is not Outcome.MALFORMED else with_latency(made, 3.0 + row)


def with_latency(made, latency):
    return replace(made, latency_ms=latency)


def refreshed(sessions):
    while True:
        with sessions.begin() as session:
            if not summaries.refresh(session, limit=3):
                return


def test_repeats_and_several_scorers_are_kept_apart(sessions):
    job_id = submitted(sessions, repeats=3, scorers=[{"type": "contains"}, {"type": "exact_match"}])
    for shard in shards_of(sessions, job_id):
        rows = range(shard.row_from, shard.row_to)
        records = [
            repeated(job_id, shard, row, repeat)
            for row in rows
            for repeat in range(shard.repeat_from, shard.repeat_to)
        ]
        put(sessions, records)
        assert finish(sessions, shard.id)
    assert_the_summaries_say_what_the_rows_say(sessions, job_id)
    assert not any(stale for _, stale, *_ in stored(sessions, job_id))


def repeated(job_id, shard, row, repeat):
    made = record(job_id, shard.id, row=row, endpoint=shard.endpoint)
    scores = (
        CellScore(scorer=0, value=float(repeat % 2)),
        CellScore(scorer=1, value=row / ROWS + repeat / 100),
    )
    address = replace(made.address, repeat=repeat)
    return replace(made, address=address, scores=scores, latency_ms=float(row * 10 + repeat))

"""A full bucket is closed, and what comes next lies in the one that was made ahead."""

from datetime import timedelta
from uuid import uuid4

import psycopg
from msgspec.structs import replace
from sqlalchemy import select

from hikaku.storage import (
    buckets,
    claims,
    comparisons,
    jobs,
    recording,
    results,
    scores,
    shards,
)
from hikaku.storage.tables import CellResult, DatasetRevision, DatasetRow, Job, Shard
from tests.support.jobs import record, spec, store

TABLES = ["attempt", "cell_result", "dataset_row", "score"]


def rolled(sessions, most_rows):
    with sessions.begin() as session:
        return buckets.roll(session, most_rows=most_rows)


def partitions(url, table):
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass",
            [table],
        )
        return {name for (name,) in rows}


def test_the_next_partitions_are_made_ahead_and_alike(sessions, hikaku_url):
    assert rolled(sessions, 100) is None
    assert rolled(sessions, 100) is None
    for table in TABLES:
        assert partitions(hikaku_url, table) == {f"{table}_b0", f"{table}_b1"}
    with psycopg.connect(hikaku_url) as connection:
        columns = "select column_name, data_type, is_nullable, column_default from"
        columns += " information_schema.columns where table_name = %s order by ordinal_position"
        for table in TABLES:
            old = connection.execute(columns, [f"{table}_b0"]).fetchall()
            assert connection.execute(columns, [f"{table}_b1"]).fetchall() == old


def test_a_full_bucket_is_closed_and_new_jobs_and_datasets_go_to_the_next(sessions):
    first = store(sessions, spec())
    assert rolled(sessions, 4) == 1
    second = store(sessions, spec(rows=[{"object": "海", "expected": "青"}]))
    with sessions() as session:
        found = dict(session.execute(select(Job.id, Job.bucket)).all())
        revisions = set(session.scalars(select(DatasetRevision.bucket)))
    assert found == {first.job_id: 0, second.job_id: 1}
    assert revisions == {0, 1}
    assert rolled(sessions, 4) is None


def test_a_job_on_an_old_dataset_runs_in_the_open_bucket(sessions):
    old = store(sessions, spec())
    with sessions() as session:
        revision = session.scalars(select(DatasetRevision.id)).one()
    assert rolled(sessions, 4) == 1
    new = store(sessions, spec(rows=None, dataset={"id": revision}))
    with sessions() as session:
        shard = session.scalars(select(Shard).where(Shard.job_id == new.job_id)).first()
        assert session.scalars(select(DatasetRow.bucket).distinct()).all() == [0]
    made = record(new.job_id, shard.id)
    with sessions.begin() as session:
        recording.record(session, [in_bucket(made, 1)])
    with sessions() as session:
        job = jobs.get(session, new.job_id)
        assert session.scalars(select(CellResult.bucket)).all() == [1]
        (cell,) = results.cells(session, job)
        assert cell.variables == {"object": "りんご", "expected": "赤"}
        column = comparisons.column_scores(session, job)[0]
        assert list(column.row_keys) == list(
            comparisons.column_scores(session, jobs.get(session, old.job_id))[0].row_keys
        )


def test_cells_are_judged_again_when_their_rows_lie_in_an_older_bucket(sessions):
    store(sessions, spec())
    with sessions() as session:
        revision = session.scalars(select(DatasetRevision.id)).one()
    assert rolled(sessions, 4) == 1
    job_id = store(sessions, spec(rows=None, dataset={"id": revision})).job_id
    with sessions.begin() as session:
        shard_id = session.scalars(select(Shard.id).where(Shard.job_id == job_id).limit(1)).one()
        claim = claims.claim(session, shard_id, uuid4())
        assert claim is not None
        recording.record(session, [in_bucket(record(job_id, shard_id), 1)])
        (answer,) = scores.answers(session, claim, after=None, limit=10)
    assert answer.variables == {"object": "りんご", "expected": "赤"}
    assert answer.scorers == {0}


def in_bucket(made, bucket):
    return replace(made, address=replace(made.address, bucket=bucket))


def test_what_is_detached_and_dropped_takes_the_cells_and_leaves_the_figures(sessions, hikaku_url):
    job_id = store(sessions, spec(endpoints=["a"])).job_id
    with sessions() as session:
        planned = list(session.scalars(select(Shard).where(Shard.job_id == job_id)))
    for shard in planned:
        rows = range(shard.row_from, shard.row_to)
        with sessions.begin() as session:
            recording.record(session, [record(job_id, shard.id, row=row) for row in rows])
    finished(sessions, planned)
    assert rolled(sessions, 1) == 1
    with psycopg.connect(hikaku_url, autocommit=True) as connection:
        for table in ("cell_result", "attempt", "score"):
            connection.execute(f"alter table {table} detach partition {table}_b0 concurrently")
            connection.execute(f"drop table {table}_b0")
    with sessions() as session:
        job = jobs.get(session, job_id)
        assert results.cells(session, job) == []
        (column,) = comparisons.column_scores(session, job)
        assert column.scores["contains"].n_scored == 2
        assert jobs.progress(session, [job_id])[job_id].done == 2
    assert rolled(sessions, 1) is None


def finished(sessions, planned):
    worker = uuid4()
    with sessions.begin() as session:
        shards.join(session, worker, host="here", pid=1, lease=timedelta(seconds=60))
        for shard in planned:
            claim = claims.claim(session, shard.id, worker)
            assert claim is not None
            assert shards.complete(session, claim, worker)

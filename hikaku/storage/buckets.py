"""The book of buckets: which partition takes what is new, and when the next one is opened.

Every table that is partitioned by bucket has a partition for the open one and, made ahead, for
the next. A new one is attached, which holds nobody up, and not created in its place, which would
wait for every reader of the table.
"""

from psycopg import sql
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from hikaku.storage.connection import driver
from hikaku.storage.tables import Bucket, DatasetRevision, Job

_LOCK = 4_172_001
"""Advisory lock: one process at a time opens buckets."""

_PARTITIONED = """
select c.relname from pg_partitioned_table p join pg_class c on c.oid = p.partrelid
 where pg_get_partkeydef(p.partrelid) = 'LIST (bucket)' order by c.relname
"""


def current(session: Session) -> int:
    """Say where new jobs and datasets go."""
    newest = select(func.max(Bucket.id)).where(Bucket.closed_at.is_(None))
    return session.scalars(newest).one() or 0


def roll(session: Session, *, most_rows: int) -> int | None:
    """Make the next partitions ahead, and close the open bucket when it is full.

    Jobs and datasets that lie in a closed bucket stay there, with what a retry adds.

    Args:
        session: The transaction.
        most_rows: Planned cells, or dataset rows, at which a bucket is full.

    Returns:
        The bucket that was opened, if one was.
    """
    if not session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
        return None
    session.execute(text("set local lock_timeout = '2s'"))
    open_bucket = current(session)
    for bucket in (open_bucket, open_bucket + 1):
        _make(session, bucket)
    if _size(session, open_bucket) < most_rows:
        return None
    session.execute(update(Bucket).where(Bucket.closed_at.is_(None)).values(closed_at=func.now()))
    session.add(Bucket(id=open_bucket + 1))
    session.flush()
    return open_bucket + 1


def _size(session: Session, bucket: int) -> int:
    cells = select(func.coalesce(func.sum(Job.n_cells), 0)).where(Job.bucket == bucket)
    rows = select(func.coalesce(func.sum(DatasetRevision.n_rows), 0)).where(
        DatasetRevision.bucket == bucket
    )
    return max(int(session.scalars(cells).one()), int(session.scalars(rows).one()))


def _make(session: Session, bucket: int) -> None:
    connection = driver(session)
    for (table,) in connection.execute(_PARTITIONED).fetchall():
        name = f"{table}_b{bucket}"
        (there,) = connection.execute("select to_regclass(%s)", [name]).fetchone() or (None,)
        if there is not None:
            continue
        parts = {
            "parent": sql.Identifier(table),
            "part": sql.Identifier(name),
            "bucket": sql.Literal(bucket),
        }
        for statement in (
            "create table {part} (like {parent} including all)",
            "alter table {part} add constraint only_its_bucket check (bucket = {bucket})",
            "alter table {parent} attach partition {part} for values in ({bucket})",
            "alter table {part} drop constraint only_its_bucket",
        ):
            connection.execute(sql.SQL(statement).format(**parts))

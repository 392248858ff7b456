"""Sums up finished shards, and reads a job from what was summed up: never from its cells.

A summary holds the scores and latencies of a shard's cells, packed: 5 bytes a cell with a 0/1
scorer. So what a comparison needs of a million cells is read from 4,000 rows, and it is exact:
intervals, paired differences and percentiles come from the values, not from a sketch of them. One
expression makes the summary that is stored and the one that stands in for it while a shard is
running or its rows have changed, so both say the same.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import Cursor
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.storage.connection import driver
from hikaku.storage.tables import RECORDED

if TYPE_CHECKING:
    from hikaku.storage.packed import Cells

_PACKED = """
select s.id as shard_id, s.job_id, cells.rows, cells.latencies, scored.blobs as scores
  from shard s join job j on j.id = s.job_id
 cross join lateral (
    select case when s.rows is not null or count(*) <>
                     (s.row_to - s.row_from) * (s.repeat_to - s.repeat_from)
                then string_agg(int4send(c.row), ''::bytea order by c.row, c.repeat) end as rows,
           string_agg(float4send(case when c.reused then 'NaN' else coalesce(c.latency_ms, 'NaN')
                      end::float4), ''::bytea order by c.row, c.repeat) as latencies
      from cell_result c
     where c.bucket = j.bucket and c.job_id = s.job_id and c.endpoint = s.endpoint
       and c.row >= s.row_from and c.row < s.row_to and c.shard_id = s.id) cells
 cross join lateral (
    select array_agg(one.blob order by one.scorer) as blobs from (
        select p.scorer,
               case when bool_and(v.value is null or v.value in (0, 1))
                    then string_agg(case v.value when 0 then '\\x00'::bytea
                                    when 1 then '\\x01'::bytea else '\\x02'::bytea end,
                                    ''::bytea order by c.row, c.repeat)
                    else string_agg(float8send(coalesce(v.value, 'NaN')),
                                    ''::bytea order by c.row, c.repeat) end as blob
          from generate_series(0, json_array_length(j.snapshot -> 'scorers') - 1) p(scorer)
         cross join cell_result c
          left join score v on v.bucket = j.bucket and v.job_id = s.job_id
               and v.endpoint = s.endpoint and v.row >= s.row_from and v.row < s.row_to
               and v.row = c.row and v.repeat = c.repeat and v.scorer = p.scorer
         where c.bucket = j.bucket and c.job_id = s.job_id and c.endpoint = s.endpoint
           and c.row >= s.row_from and c.row < s.row_to and c.shard_id = s.id
         group by p.scorer) one) scored
"""

_KEEP = f"""
insert into shard_summary as kept (shard_id, job_id, rows, latencies, scores)
{_PACKED} where s.id = any(%s) and s.kind = 'ask'
on conflict (shard_id) do update set stale = false, rows = excluded.rows,
   latencies = excluded.latencies, scores = excluded.scores
"""

_FORGET_JUDGED = """
update shard_summary k set stale = true
  from shard judging join shard s on s.job_id = judging.job_id and s.endpoint = judging.endpoint
       and s.row_from < judging.row_to and s.row_to > judging.row_from
 where judging.id = %s and judging.kind = 'score' and k.shard_id = s.id and not k.stale
"""

_FORGET = "update shard_summary set stale = true where shard_id = any(%s) and not stale"

_STALE = """
select shard_id from shard_summary where stale order by shard_id limit %s for update skip locked
"""

_PLACE = "s.id, s.endpoint, s.row_from, s.row_to, s.repeat_to - s.repeat_from"

_BEGUN = f"""
select {_PLACE}, m.rows, m.latencies, m.scores, m.shard_id is null
  from shard s
  left join shard_summary m on m.shard_id = s.id and m.job_id = s.job_id and not m.stale
 where s.job_id = %s and s.kind = 'ask' and (m.shard_id is not null
   or {RECORDED} > 0)
"""  # noqa: S608 - nothing of a request is in it

_MADE_NOW = f"""
select {_PLACE}, m.rows, m.latencies, m.scores, false
  from ({_PACKED} where s.id = any(%s)) m join shard s on s.id = m.shard_id
"""  # noqa: S608 - nothing of a request is in it


def keep(session: Session, shard_ids: Sequence[int]) -> None:
    """Sum up shards whose every cell has an outcome; what was kept before is replaced."""
    driver(session).execute(_KEEP, [list(shard_ids)])


def ended(session: Session, shard_id: int) -> None:
    """Sum up a shard that is done; one that judged again lets go of what was summed up before."""
    connection = driver(session)
    connection.execute(_KEEP, [[shard_id]])
    connection.execute(_FORGET_JUDGED, [shard_id])


def forget(cursor: Cursor[Any], shard_ids: Iterable[int]) -> None:
    """Let the rows of shards count until they are summed up again: they have changed."""
    cursor.execute(_FORGET, [sorted(shard_ids)])


def refresh(session: Session, *, limit: int) -> int:
    """Sum up shards that were forgotten; gives how many."""
    connection = driver(session)
    stale = [int(shard_id) for (shard_id,) in connection.execute(_STALE, [limit])]
    if stale:
        connection.execute(_KEEP, [stale])
    return len(stale)


def read(session: Session, job_id: str, *, n_scorers: int) -> "dict[int, Cells]":
    """Read the cells of a job by endpoint; an endpoint without any is left out."""
    from hikaku.storage.packed import Packed, unpacked  # noqa: PLC0415 - workers need no numpy

    job = ids.decode(ids.JOB, job_id)
    with driver(session).cursor(binary=True) as cursor:
        found = cursor.execute(_BEGUN, [job]).fetchall()
        # Of one moment: a shard that is summed up after it is made from its rows, not missed.
        if lacking := [shard_id for shard_id, *_, is_lacking in found if is_lacking]:
            found += cursor.execute(_MADE_NOW, [lacking]).fetchall()
    packed: dict[int, list[Packed]] = {}
    for _, endpoint, *one, _ in found:
        if one[4]:
            packed.setdefault(endpoint, []).append(Packed(*one))
    return {endpoint: unpacked(of_it, n_scorers) for endpoint, of_it in packed.items()}

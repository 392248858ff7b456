"""How jobs stand: all that is asked of them again and again, in one statement and without cells.

What a job was submitted with is sent only where it is not known yet: `version` tells one snapshot
of a job from another, and whoever keeps snapshots asks for those that he lacks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from hikaku import ids
from hikaku.errors import NotFound
from hikaku.jobs import JobState
from hikaku.storage.budgets import Account, Funds
from hikaku.storage.jobs import PART, EndpointProgress, Progress


class Tracked(Struct, frozen=True):
    """Where a job is on its way to MLflow."""

    state: str
    run_id: str | None
    url: str | None
    error: str | None


class HandedOver(Struct, frozen=True, kw_only=True):
    """What of a job goes through the batch interfaces of vendors."""

    waiting: int
    """Batches that no vendor has yet."""
    running: int
    ended: int
    given_up: int
    """Batches whose cells are asked online."""
    requests: int
    """Handed over, in all batches."""
    error: str | None
    """What one of them met last."""


class Event(Struct, frozen=True):
    """Something that happened to a job."""

    seq: int
    kind: str
    data: dict[str, Any]
    at: datetime


class Standing(Struct, frozen=True, kw_only=True):
    """One job, at one moment."""

    id: str
    name: str
    project: str
    state: JobState
    paused_for: str | None
    priority: int
    round: int
    n_cells: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    was_extended: bool
    estimate: dict[str, Any] | None
    version: int
    snapshot: msgspec.Raw
    """JSON of a `hikaku.specs.Snapshot`; `null` if it was not asked for."""
    tracked: Tracked | None
    """None before the job has ended."""
    budget: Funds | None
    project_budget: Funds | None
    handed_over: HandedOver | None
    """None where nothing is."""
    account: Account | None
    """None where no budget holds it, or no claim has held money of one."""
    endpoints: dict[int, EndpointProgress] | None
    events: tuple[Event, ...] | None

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(endpoints=self.endpoints or {})


_FUNDS = """
    select json_build_object('limit_usd', b.limit_usd, 'spent_usd', b.spent_usd + r.settled,
                             'reserved_usd', greatest(0, b.reserved_usd - r.settled)) as funds
      from budget b cross join (
        select coalesce(sum(spent_usd), 0) as settled from reservation
         where released_at is null and {whose}) r
     where b.kind = '{kind}' and b.owner = {owner}
"""
_OF_JOB = _FUNDS.format(kind="job", owner="asked.id", whose="job_id = j.id and of_job")
_OF_PROJECT = _FUNDS.format(
    kind="project", owner="j.project", whose="project = j.project and of_project"
)

_STANDINGS = f"""
select row_to_json(standing)::text from (
    select asked.id, j.name, j.project, j.state, j.paused_for, j.priority, j.round, j.n_cells,
           j.error, j.created_at, j.started_at, j.finished_at, j.estimate,
           coalesce(json_array_length(j.snapshot -> 'extensions'), 0) > 0 as was_extended,
           hashtextextended(j.snapshot::text, 0) as version,
           case when %(whole)s then j.snapshot end as snapshot,
           tracked.line as tracked, own.funds as budget, shared.funds as project_budget,
           account.sums as account, elsewhere.batches as handed_over, done.endpoints,
           happened.events
      from unnest(%(jobs)s::uuid[], %(ids)s::text[]) asked(job, id)
      join job j on j.id = asked.job
      left join lateral ({_OF_JOB}) own on true
      left join lateral ({_OF_PROJECT}) shared on true
      left join lateral (
        select json_build_object('unknown_usd', sum(unknown_usd), 'reserved_usd', greatest(0,
                 coalesce(sum(usd - spent_usd) filter (where released_at is null), 0))) as sums
          from reservation
         where job_id = j.id and (own.funds is not null or shared.funds is not null)
        having count(*) > 0) account on true
      left join lateral (
        select json_build_object('state', state, 'run_id', run_id, 'url', url, 'error', error)
               as line from tracking where job_id = j.id) tracked on true
      left join lateral (
        select json_build_object(
                 'waiting', count(*) filter (where state in ('planned', 'handing_over')),
                 'running', count(*) filter (where state = 'running'),
                 'ended', count(*) filter (where state = 'ended'),
                 'given_up', count(*) filter (where state = 'given_up'),
                 'requests', sum(n_requests), 'error', max(error)) as batches
          from offload where job_id = j.id having count(*) > 0) elsewhere on true
      left join lateral (
        select json_object_agg(endpoint, part) as endpoints from (
            select endpoint, {PART} as part from shard
             where job_id = j.id group by endpoint) parts) done on true
      left join lateral (
        select json_agg(json_build_object('seq', seq, 'kind', kind, 'data', data, 'at', at)
                        order by seq) as events
          from job_event where job_id = j.id and seq > %(after_seq)s) happened on true
     order by j.id desc) standing
"""  # noqa: S608 - nothing of a request is in it

_NO_EVENTS = 2**63 - 1

_decode = msgspec.json.Decoder(Standing).decode


def of(
    asked: Connection, job_ids: Sequence[str], *, whole: bool = False, after_seq: int = _NO_EVENTS
) -> list[Standing]:
    """Read how jobs stand, newest first; one that is not there is left out.

    Args:
        asked: Where to ask.
        job_ids: The jobs.
        whole: Send their snapshots as well.
        after_seq: Send also what happened to them after this event.
    """
    wanted = {
        "jobs": [ids.decode(ids.JOB, job_id) for job_id in job_ids],
        "ids": list(job_ids),
        "whole": whole,
        "after_seq": after_seq,
    }
    found = asked.exec_driver_sql(_STANDINGS, wanted)
    return [_decode(line) for (line,) in found]


def one(asked: Connection, job_id: str, *, after_seq: int = _NO_EVENTS) -> Standing:
    """Read how a job stands, and what happened to it after an event.

    Raises:
        NotFound: There is none with this id.
    """
    for standing in of(asked, [job_id], after_seq=after_seq):
        return standing
    raise NotFound(f"there is no job {job_id}")

"""Judges completions that are recorded already by the scorers they lack; no call is made.

A shard of this kind is claimed, fenced and handed back like any other. Scores are added and never
changed, so a shard that is run again goes over what it has done, and does the rest.
"""

import logging
from functools import partial

from sqlalchemy.orm import Session

from hikaku.jobs import CellScore
from hikaku.storage import jobs, scores, shards
from hikaku.storage.claims import Claim
from hikaku.storage.scores import Answer, Place
from workers.database import Database
from workers.errors import Cancelling, StopShard
from workers.judging import Judge, judged, judges
from workers.lease import Lease

log = logging.getLogger(__name__)

PAGE = 500
"""Completions of one transaction."""


async def run(database: Database, lease: Lease, claim: Claim) -> None:
    """Judge what a claimed shard's completions lack, as far as this process may.

    Raises:
        Exception: Something unforeseen; the shard is back in the queue, or dead after too many.
    """
    try:
        stopped = await _judge_all(database, lease, claim)
        await database.insist(lambda session: _end(session, lease, claim, stopped))
    except Exception as error:
        log.exception("shard given up", extra={"shard": claim.shard_id, "job": claim.job_id})
        reason = repr(error)
        await database.insist(lambda session: shards.give_up(session, claim, lease.worker, reason))
        raise
    finally:
        lease.drop(claim)


async def _judge_all(database: Database, lease: Lease, claim: Claim) -> StopShard | None:
    panel = await database.insist(lambda session: _panel(session, claim))
    after: Place | None = None
    while True:
        try:
            await lease.permit(claim)
        except StopShard as stop:
            return stop
        last = await database.insist(partial(_judge_page, claim, panel, after))
        if last is None:
            return None
        after = last


def _panel(session: Session, claim: Claim) -> tuple[Judge, ...]:
    return judges(jobs.snapshot(jobs.get(session, claim.job_id)))


def _judge_page(
    claim: Claim, panel: tuple[Judge, ...], after: Place | None, session: Session
) -> Place | None:
    """Judge the next completions; gives the place of the last, or None when there were none."""
    page = scores.answers(session, claim, after=after, limit=PAGE)
    if not page:
        return None
    scores.add(session, claim, [(answer, _lacking(answer, panel)) for answer in page])
    return page[-1].row, page[-1].repeat


def _lacking(answer: Answer, panel: tuple[Judge, ...]) -> list[CellScore]:
    return [
        judged(judge, answer.completion, answer.variables)
        for judge in panel
        if judge.position not in answer.scorers
    ]


def _end(session: Session, lease: Lease, claim: Claim, stopped: StopShard | None) -> None:
    match stopped:
        case None:
            shards.complete(session, claim, lease.worker)
            jobs.close_if_ended(session, claim.job_id)
        case Cancelling():
            shards.cancel(session, claim, lease.worker)
            jobs.close_if_ended(session, claim.job_id)
        case _:
            shards.hand_back(session, claim, lease.worker)

"""Runs one shard: claim it, render its rows, ask, score, record, complete."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Protocol
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy.orm import Session

from gateway.errors import GatewayError, MalformedAnswer
from gateway.surfaces.relay import Relayer, WholeRequest
from gateway.types import ChatRequest, Completion, Observer
from hikaku.failpoints import Point, reach
from hikaku.jobs import CellRecord, ShardKind
from hikaku.storage import claims, completions, jobs, shards
from hikaku.storage.claims import MOST_LANES, Claim
from hikaku.storage.completions import Found, Recorded
from hikaku.storage.work import Work
from workers import plan as plans
from workers import rescoring
from workers.copying import copied
from workers.database import Database
from workers.errors import Cancelling, StopShard
from workers.judging import judged
from workers.lease import Lease
from workers.ledger import FundedLedger, Ledger, keepable
from workers.plan import Plan, Question, address_of, questions_of
from workers.recorder import Recorder
from workers.requests import relayed, text_of
from workers.turns import Turns

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.25
"""Seconds between two looks for completions that others are buying."""


class Asker(Protocol):
    """The way to ask a model; in production the gateway."""

    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        """Ask once, with the gateway's own retries."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a worker process has at hand for all its shards."""

    database: Database
    gateway: Asker
    relay: Relayer
    """The way to put whole requests."""
    lease: Lease
    recorder: Recorder
    turns: Turns


async def run(room: Room, shard_id: int) -> None:
    """Run a shard, and then whatever is next in line until nothing waits.

    Raises:
        Exception: Something unforeseen; the shard is back in the queue, or dead after too many.
    """
    claim = await _claim(room, lambda session: claims.claim(session, shard_id, room.lease.worker))
    if claim is not None:
        await run_on(room, claim)


async def run_on(room: Room, claim: Claim) -> None:
    """Run a claimed shard, and then whatever is next in line until nothing waits.

    Raises:
        Exception: Something unforeseen; the shard is back in the queue, or dead after too many.
    """
    following: Claim | None = claim
    while following is not None:
        await run_claimed(room, following)
        following = await claim_next(room)


async def _claim(room: Room, take: Callable[[Session], Claim | None]) -> Claim | None:
    await room.recorder.has_room(lambda: room.lease.is_draining)
    if room.lease.is_draining:
        return None
    await room.recorder.adopt()  # a dead worker's answers first: the work list must know them
    asked_at = room.lease.now()
    claim = await room.database.run(take)
    if claim is not None:
        reach(Point.AFTER_CLAIM)
        room.lease.take(claim, asked_at=asked_at)
    return claim


async def claim_next(room: Room) -> Claim | None:
    """Take the shard that is first in line."""
    return await _claim(room, lambda session: claims.claim_next(session, room.lease.worker))


async def claim_idle(room: Room) -> Claim | None:
    """Take a shard of a job of which all workers hold less than a full one."""
    return await _claim(
        room, lambda session: claims.claim_next(session, room.lease.worker, idle=True)
    )


async def run_claimed(room: Room, claim: Claim) -> None:
    """Run a claimed shard to its end, or as far as this process may; the last closes its job."""
    if claim.kind is ShardKind.SCORE:
        await rescoring.run(room.database, room.lease, claim)
        return
    worker = room.lease.worker
    plan: Plan | None = None
    try:
        plan = await room.database.insist(lambda session: plans.plan(session, claim, worker))
        stopped = await _ask_all(room, plan)
        await room.recorder.flushed()
        reach(Point.BEFORE_COMPLETE)
        await room.database.insist(partial(_end, plan, worker, stopped))
        reach(Point.AFTER_COMPLETE)
    except Exception as error:
        log.exception("shard given up", extra={"shard": claim.shard_id, "job": claim.job_id})
        reason = repr(error)
        await room.recorder.flushed()  # what was answered is not to be asked again
        await room.database.insist(partial(_give_up, plan, claim, worker, reason))
        raise
    finally:
        room.lease.drop(claim)


def _end(plan: Plan, worker: UUID, stopped: StopShard | None, session: Session) -> None:
    claim = plan.claim
    match stopped:
        case None if shards.complete(session, claim, worker):
            reach(Point.IN_COMPLETE)
            if not shards.are_many_left(session, claim.job_id):
                jobs.close_if_ended(session, claim.job_id)
        case None:
            shards.give_up(session, claim, worker, "its results do not cover its cells")
        case Cancelling():
            shards.cancel(session, claim, worker)
            jobs.close_if_ended(session, claim.job_id)
        case _:  # of a shard that was taken away this changes nothing: it bears a later epoch
            shards.hand_back(session, claim, worker)
            reach(Point.IN_HAND_BACK)
    _settle_up(session, plan, stopped)


def _give_up(plan: Plan | None, claim: Claim, worker: UUID, reason: str, session: Session) -> None:
    shards.give_up(session, claim, worker, reason)
    if plan is not None:
        _settle_up(session, plan, None)


def _settle_up(session: Session, plan: Plan, stopped: StopShard | None) -> None:
    """Give back what a claim held besides the shard."""
    if plan.funding is not None:
        plan.funding.settle_up(session, stopped)
    if plan.buys_once:
        completions.let_go(session, plan.claim.shard_id, plan.claim.epoch)


async def _ask_all(room: Room, plan: Plan) -> StopShard | None:
    if plan.brief.snapshot.rescored_from is not None:
        return await _copy_all(room, plan, plan.brief.snapshot.rescored_from)
    questions, unaskable = questions_of(plan)
    for record in unaskable:
        await room.recorder.settle(record)
    if plan.buys_once:
        return await _ask_once(room, plan, questions)
    known = await _recorded(room, plan, questions)
    return await _ask(room, await _funded(room, plan, questions, known), questions, known)


async def _copy_all(room: Room, plan: Plan, source: str) -> StopShard | None:
    """Take every cell from another job and judge it anew; nothing is asked."""
    rows = [work.row for work in plan.work]
    kept = await room.database.insist(
        lambda session: completions.of_job(session, source, plan.claim.endpoint, rows)
    )
    for work in plan.work:
        try:
            await room.lease.permit(plan.claim)
        except StopShard as stop:
            return stop
        for cell in work.cells:
            record = copied(address_of(plan, cell), kept.get((cell.row, cell.repeat)), source)
            await room.recorder.settle(_scored(plan, work, record))
    return None


async def _ask_once(room: Room, plan: Plan, questions: list[Question]) -> StopShard | None:
    """Ask what nobody else is asking; the rest is answered from what others bought meanwhile.

    Own purchases come first, so nobody waits for one who waits. Who dies is taken over from.
    """
    waiting = questions
    claim = plan.claim
    while waiting:
        hashes = list({q.request_hash for q in waiting if q.request_hash is not None})
        found = await room.database.insist(
            lambda session: completions.sort_out(session, hashes, claim.shard_id, claim.epoch)  # noqa: B023
        )
        now, waiting = _sorted_out(waiting, found)
        plan = await _funded(room, plan, now, found.known)
        stopped = await _ask(room, plan, now, found.known)
        if stopped is not None or not waiting:
            return stopped
        if now:
            await room.recorder.flushed()  # what was bought may be what the others wait for
            continue
        await asyncio.sleep(LOOK_AGAIN)
        await room.recorder.adopt()  # a dead buyer's answers come before a second purchase
        try:
            await room.lease.permit(claim)
        except StopShard as stop:
            return stop
    return None


def _sorted_out(questions: list[Question], found: Found) -> tuple[list[Question], list[Question]]:
    """Tell what can be answered or asked now from what has to wait; of equals one is asked."""
    now: list[Question] = []
    later: list[Question] = []
    asked: set[bytes | None] = set()
    for question in questions:
        digest = question.request_hash
        if digest in found.known:
            now.append(question)
        elif digest in found.ours and digest not in asked:
            asked.add(digest)
            now.append(question)
        else:
            later.append(question)
    return now, later


async def _funded(
    room: Room, plan: Plan, questions: list[Question], known: Mapping[bytes, Recorded]
) -> Plan:
    """Set aside what the questions can cost that are to be asked, where a budget holds."""
    if plan.funding is None or plan.purse is not None:
        return plan
    bought = [_contents(q) for q in questions if (q.request_hash or b"") not in known]
    if not bought:
        return plan
    return dataclasses.replace(plan, purse=await plan.funding.open(room.database, bought))


async def _ask(
    room: Room, plan: Plan, questions: list[Question], known: Mapping[bytes, Recorded]
) -> StopShard | None:
    """Run the cells in lanes; every call in flight is waited for, whatever stops the shard."""
    queue = iter(questions)
    lanes = [
        asyncio.create_task(_lane(room, plan, queue, known))
        for _ in range(min(MOST_LANES, len(questions)))
    ]
    if not lanes:
        return None
    await asyncio.wait(lanes)
    stops = [lane.result() for lane in lanes]
    return next((stop for stop in stops if stop is not None), None)


async def _recorded(room: Room, plan: Plan, questions: list[Question]) -> Mapping[bytes, Recorded]:
    if not plan.brief.snapshot.reuse.reads:
        return {}
    hashes = [q.request_hash for q in questions if q.request_hash is not None]
    return await room.database.insist(lambda session: completions.find(session, hashes))


async def _lane(
    room: Room, plan: Plan, questions: Iterator[Question], known: Mapping[bytes, Recorded]
) -> StopShard | None:
    """Take one question after the other until there are none, or no call may start any more."""
    for question in questions:
        recorded = known.get(question.request_hash or b"")
        try:
            await room.lease.permit(plan.claim)
            record = (
                _reused(question, recorded)
                if recorded is not None
                else await _asked(room, plan, question)
            )
        except StopShard as stop:
            return stop
        await room.recorder.settle(_scored(plan, question.work, record))
    return None


def _reused(question: Question, recorded: Recorded) -> CellRecord:
    return CellRecord(
        address=question.address,
        outcome=recorded.outcome,
        recorded_at=datetime.now(UTC),
        completion=recorded.completion,
        finish_reason=recorded.finish_reason,
        input_tokens=recorded.input_tokens,
        output_tokens=recorded.output_tokens,
        latency_ms=recorded.latency_ms,
        cost_usd=Decimal(0),
        reused=True,
    )


async def _ledger(
    room: Room, plan: Plan, question: Question, may_call: Callable[[], None]
) -> Ledger:
    """Open the account of a cell; where a budget holds, with the money for its first call."""
    if plan.purse is None:
        return Ledger(plan.to.tariff, question.address, room.recorder, may_call)
    drawn = plan.purse.most(_contents(question))
    await plan.purse.draw(drawn)
    return FundedLedger(
        plan.to.tariff, question.address, room.recorder, may_call, purse=plan.purse, drawn=drawn
    )


def _contents(question: Question) -> list[str]:
    asked = question.asked
    if isinstance(asked, WholeRequest):
        return [text_of(asked)]
    return [message.content for message in asked]


async def _asked(room: Room, plan: Plan, question: Question) -> CellRecord:
    turn = room.turns.turn(plan.party, plan.to.endpoint.name, lambda: room.lease.check(plan.claim))
    ledger = await _ledger(room, plan, question, turn.sending)
    asked = question.asked
    try:
        async with turn:
            if isinstance(asked, WholeRequest):
                return await relayed(room.relay, asked, ledger)
            request = ChatRequest(
                endpoint=plan.to.endpoint.name, messages=asked, params=plan.to.params
            )
            completion = await room.gateway.ask(request, observer=ledger)
    except GatewayError as error:
        return ledger.failed(error)
    except MemoryError:  # asked again, it would not fit either
        return ledger.failed(MalformedAnswer("the answer does not fit into this worker's memory"))
    except Exception:  # what stops the shard, or what nobody foresaw: the calls were made
        await ledger.abandon()
        raise
    finally:
        ledger.close()
    hash_to_keep = question.request_hash if plan.brief.snapshot.reuse.writes else None
    return keepable(ledger.answered(completion, hash_to_keep))


def _scored(plan: Plan, work: Work, record: CellRecord) -> CellRecord:
    if not record.outcome.is_answered or record.completion is None or not plan.brief.judges:
        return record
    completion = record.completion
    scores = tuple(judged(judge, completion, work.variables) for judge in plan.brief.judges)
    return replace(record, scores=scores)

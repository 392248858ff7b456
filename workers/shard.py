"""Runs one shard: claim it, render its rows, ask, score, record, complete."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from msgspec.structs import replace
from sqlalchemy.orm import Session

from gateway.errors import GatewayError
from gateway.surfaces.relay import Relayer, WholeRequest
from gateway.types import JSON, ChatRequest, Completion, Message, Observer
from hikaku import scoring
from hikaku.errors import InvalidInput
from hikaku.failpoints import Point, reach
from hikaku.jobs import Cell, CellAddress, CellRecord, CellScore, Outcome, failure
from hikaku.pricing import Tariff, tariff
from hikaku.specs import Snapshot, SnapshotEndpoint
from hikaku.storage import claims, completions, jobs, projects, shards
from hikaku.storage.claims import MOST_LANES, Claim
from hikaku.storage.completions import Recorded, RequestHash
from hikaku.storage.shards import Work
from hikaku.templates import Template, parse
from workers.database import Database
from workers.errors import Cancelling, StopShard
from workers.lease import Lease
from workers.ledger import Ledger, keepable, storable
from workers.recorder import Recorder
from workers.requests import relayed, request_of
from workers.turns import Party, Turns

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A scorer at its place in the job."""

    position: int
    target: str
    """Column with the expected answer."""
    scorer: scoring.Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A claimed shard with all that is needed to run it."""

    claim: Claim
    party: Party
    bucket: int
    endpoint: SnapshotEndpoint
    tariff: Tariff | None
    template: Template
    judges: tuple[Judge, ...]
    snapshot: Snapshot
    params: Mapping[str, JSON]
    """Sampling parameters, as the gateway takes them."""
    hashes: RequestHash | None
    """None when the job neither reads nor writes recorded completions."""
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One cell, rendered."""

    work: Work
    address: CellAddress
    asked: tuple[Message, ...] | WholeRequest
    request_hash: bytes | None
    """Content address of the completion; None when the job neither reads nor writes any."""


async def run(room: Room, shard_id: int) -> None:
    """Run a shard, and then whatever is next in line until nothing waits.

    Raises:
        Exception: Something unforeseen; the shard is back in the queue, or dead after too many.
    """
    claim = await _claim(room, lambda session: claims.claim(session, shard_id, room.lease.worker))
    while claim is not None:
        await run_claimed(room, claim)
        claim = await _claim(room, lambda session: claims.claim_next(session, room.lease.worker))


async def _claim(room: Room, take: Callable[[Session], Claim | None]) -> Claim | None:
    if room.lease.is_draining:
        return None
    await room.recorder.adopt()  # a dead worker's answers first: the work list must know them
    asked_at = room.lease.now()
    claim = await room.database.run(take)
    if claim is not None:
        reach(Point.AFTER_CLAIM)
        room.lease.take(claim, asked_at=asked_at)
    return claim


async def claim_idle(room: Room) -> Claim | None:
    """Take a shard of a job of which no worker holds one."""
    return await _claim(
        room, lambda session: claims.claim_next(session, room.lease.worker, idle=True)
    )


async def run_claimed(room: Room, claim: Claim) -> None:
    """Run a claimed shard to its end, or as far as this process may; the last closes its job."""
    try:
        plan = await room.database.insist(lambda session: _plan(session, claim))
        stopped = await _ask_all(room, plan)
        await room.recorder.flushed()
        reach(Point.BEFORE_COMPLETE)
        await room.database.insist(lambda session: _end(session, room, claim, stopped))
        reach(Point.AFTER_COMPLETE)
    except Exception as error:
        log.exception("shard given up", extra={"shard": claim.shard_id, "job": claim.job_id})
        reason = repr(error)
        await room.recorder.flushed()  # what was answered is not to be asked again
        await room.database.insist(
            lambda session: shards.give_up(session, claim, room.lease.worker, reason)
        )
        raise
    finally:
        room.lease.drop(claim)


def _plan(session: Session, claim: Claim) -> Plan:
    job = jobs.get(session, claim.job_id)
    snapshot = jobs.snapshot(job)
    endpoint, reuse = snapshot.endpoints[claim.endpoint], snapshot.reuse
    return Plan(
        claim=claim,
        party=Party(
            job_id=job.id,
            project=job.project,
            weight=projects.weight(session, job.project),
            priority=job.priority,
        ),
        bucket=job.bucket,
        endpoint=endpoint,
        tariff=tariff(endpoint),
        template=parse([(m.role, m.content) for m in snapshot.prompt.messages]),
        judges=tuple(
            Judge(
                position=position,
                target=scorer.target or "",
                scorer=scoring.build(scorer.type, scorer.options),
            )
            for position, scorer in enumerate(snapshot.scorers)
        ),
        snapshot=snapshot,
        params=endpoint.params.model_dump(exclude_none=True),
        hashes=RequestHash(endpoint) if reuse.reads or reuse.writes else None,
        work=tuple(shards.work(session, claim)),
    )


def _end(session: Session, room: Room, claim: Claim, stopped: StopShard | None) -> None:
    worker = room.lease.worker
    match stopped:
        case None if shards.complete(session, claim, worker):
            reach(Point.IN_COMPLETE)
            jobs.close_if_ended(session, claim.job_id)
        case None:
            shards.give_up(session, claim, worker, "its results do not cover its cells")
        case Cancelling():
            shards.cancel(session, claim, worker)
            jobs.close_if_ended(session, claim.job_id)
        case _:  # of a shard that was taken away this changes nothing: it bears a later epoch
            shards.hand_back(session, claim, worker)
            reach(Point.IN_HAND_BACK)


async def _ask_all(room: Room, plan: Plan) -> StopShard | None:
    """Run the cells in lanes; every call in flight is waited for, whatever stops the shard."""
    questions, unaskable = _render(plan)
    for record in unaskable:
        await room.recorder.settle(record)
    known = await _recorded(room, plan, questions)
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


def _render(plan: Plan) -> tuple[list[Question], list[CellRecord]]:
    questions: list[Question] = []
    unaskable: list[CellRecord] = []
    for work in plan.work:
        try:
            asked = _asked_with(plan, work)
        except InvalidInput as error:
            unaskable += [
                failure(_address(plan, cell), Outcome.INVALID_REQUEST, str(error))
                for cell in work.cells
            ]
            continue
        questions += [_question(plan, work, cell, asked) for cell in work.cells]
    return questions, unaskable


def _asked_with(plan: Plan, work: Work) -> tuple[Message, ...] | WholeRequest:
    if (path := plan.snapshot.prompt.request) is not None:
        return request_of(work, path, plan.endpoint.name)
    rendered = plan.template.render(work.variables, row=work.row)
    return tuple(Message(role=message.role, content=message.content) for message in rendered)


def _question(
    plan: Plan, work: Work, cell: Cell, asked: tuple[Message, ...] | WholeRequest
) -> Question:
    digest = None
    if plan.hashes is not None and not isinstance(asked, WholeRequest):
        digest = plan.hashes.of([(m.role, m.content) for m in asked], cell.repeat)
    return Question(work=work, address=_address(plan, cell), asked=asked, request_hash=digest)


def _address(plan: Plan, cell: Cell) -> CellAddress:
    return CellAddress(
        job_id=plan.claim.job_id,
        bucket=plan.bucket,
        endpoint=plan.claim.endpoint,
        row=cell.row,
        repeat=cell.repeat,
        round=plan.claim.round,
        shard_id=plan.claim.shard_id,
        epoch=plan.claim.epoch,
    )


async def _recorded(room: Room, plan: Plan, questions: list[Question]) -> Mapping[bytes, Recorded]:
    if not plan.snapshot.reuse.reads:
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


async def _asked(room: Room, plan: Plan, question: Question) -> CellRecord:
    turn = room.turns.turn(plan.party, plan.endpoint.name, lambda: room.lease.check(plan.claim))
    ledger = Ledger(plan.tariff, question.address, room.recorder, turn.sending)
    asked = question.asked
    async with turn:
        try:
            if isinstance(asked, WholeRequest):
                return await relayed(room.relay, asked, ledger)
            request = ChatRequest(endpoint=plan.endpoint.name, messages=asked, params=plan.params)
            completion = await room.gateway.ask(request, observer=ledger)
        except GatewayError as error:
            return ledger.failed(error)
        except StopShard:
            await ledger.abandon()
            raise
    hash_to_keep = question.request_hash if plan.snapshot.reuse.writes else None
    return keepable(replace(ledger.answered(completion), request_hash=hash_to_keep))


def _scored(plan: Plan, work: Work, record: CellRecord) -> CellRecord:
    if not record.outcome.is_answered or record.completion is None or not plan.judges:
        return record
    completion = record.completion
    scores = tuple(_judged(judge, completion, work) for judge in plan.judges)
    return replace(record, scores=scores)


def _judged(judge: Judge, completion: str, work: Work) -> CellScore:
    try:
        verdict = judge.scorer.score(completion, work.variables.get(judge.target))
    except Exception as error:  # noqa: BLE001  # a scorer's bug is no verdict, and loses no answer
        failure_ = f"scorer failed: {error!r}"
        return storable(CellScore(scorer=judge.position, value=None, unscored=failure_))
    return storable(
        CellScore(
            scorer=judge.position,
            value=verdict.value,
            unscored=verdict.unscored,
            detail=verdict.detail,
        )
    )

"""What a claimed shard has to do: read once, rendered into questions, and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from sqlalchemy.orm import Session

from gateway.surfaces.relay import WholeRequest
from gateway.types import JSON, Message
from hikaku.errors import InvalidInput
from hikaku.jobs import Cell, CellAddress, CellRecord, Outcome, failure
from hikaku.pricing import Tariff, tariff
from hikaku.specs import Snapshot, SnapshotEndpoint
from hikaku.storage.claims import Claim
from hikaku.storage.completions import RequestHash
from hikaku.storage.work import Work, charge, left_to_do
from hikaku.templates import Template
from workers.judging import Judge, judges
from workers.purse import Purse
from workers.requests import request_of, template_of
from workers.spending import Funding, funding
from workers.turns import Party


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """One endpoint of a job, and what is the same in every question to it."""

    endpoint: SnapshotEndpoint
    tariff: Tariff | None
    params: Mapping[str, JSON]
    """Sampling parameters, as the gateway takes them."""
    hashes: RequestHash | None
    """None when the job neither reads nor writes recorded completions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a job's snapshot says, ready to be worked by."""

    snapshot: Snapshot
    template: Template
    judges: tuple[Judge, ...]
    addressees: tuple[Addressee, ...]
    """By position in the job's list of endpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A claimed shard with all that is needed to run it."""

    claim: Claim
    party: Party
    bucket: int
    brief: Brief
    to: Addressee
    work: tuple[Work, ...]
    funding: Funding | None
    """None when no budget holds the job."""
    purse: Purse | None = None
    """What may still be spent, once something is to be bought."""

    @property
    def buys_once(self) -> bool:
        """Whether completions that somebody else is buying are waited for."""
        reuse = self.brief.snapshot.reuse
        return reuse.reads and reuse.writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One cell, rendered."""

    work: Work
    address: CellAddress
    asked: tuple[Message, ...] | WholeRequest
    request_hash: bytes | None
    """Content address of the completion; None when the job neither reads nor writes any."""


def plan(session: Session, claim: Claim, worker: UUID) -> Plan:
    """Read what a claim has to do."""
    of_job = charge(session, claim)
    agreed = brief(of_job.snapshot)
    return Plan(
        claim=claim,
        party=Party(
            job_id=claim.job_id,
            project=of_job.project,
            weight=of_job.weight,
            priority=of_job.priority,
        ),
        bucket=of_job.bucket,
        brief=agreed,
        to=agreed.addressees[claim.endpoint],
        work=tuple(left_to_do(session, claim.shard_id)),
        funding=funding(of_job.project, agreed.snapshot, claim, worker) if of_job.is_held else None,
    )


@lru_cache(maxsize=32)
def brief(snapshot: str) -> Brief:
    """Make the JSON of a snapshot ready; a job has many shards, and all say the same."""
    read = Snapshot.model_validate_json(snapshot)
    return Brief(
        snapshot=read,
        template=template_of(read),
        judges=judges(read),
        addressees=tuple(_addressee(read, endpoint) for endpoint in read.endpoints),
    )


def _addressee(snapshot: Snapshot, endpoint: SnapshotEndpoint) -> Addressee:
    reuse = snapshot.reuse
    return Addressee(
        endpoint=endpoint,
        tariff=tariff(endpoint),
        params=endpoint.params.model_dump(exclude_none=True),
        hashes=RequestHash(endpoint) if reuse.reads or reuse.writes else None,
    )


def questions_of(plan: Plan) -> tuple[list[Question], list[CellRecord]]:
    """Render the rows of a plan: questions to ask, and the ends of cells that cannot be asked."""
    questions: list[Question] = []
    unaskable: list[CellRecord] = []
    for row in plan.work:
        try:
            asked = _asked_with(plan, row)
        except InvalidInput as error:
            unaskable += [
                failure(address_of(plan, cell), Outcome.INVALID_REQUEST, str(error))
                for cell in row.cells
            ]
            continue
        questions += [_question(plan, row, cell, asked) for cell in row.cells]
    return questions, unaskable


def address_of(plan: Plan, cell: Cell) -> CellAddress:
    """Say which cell it is, and under which claim it is worked on."""
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


def _asked_with(plan: Plan, row: Work) -> tuple[Message, ...] | WholeRequest:
    if (path := plan.brief.snapshot.prompt.request) is not None:
        return request_of(row, path, plan.to.endpoint.name)
    rendered = plan.brief.template.render(row.variables, row=row.row)
    return tuple(Message(role=message.role, content=message.content) for message in rendered)


def _question(
    plan: Plan, row: Work, cell: Cell, asked: tuple[Message, ...] | WholeRequest
) -> Question:
    digest = None
    if plan.to.hashes is not None and not isinstance(asked, WholeRequest):
        digest = plan.to.hashes.of([(m.role, m.content) for m in asked], cell.repeat)
    return Question(work=row, address=address_of(plan, cell), asked=asked, request_hash=digest)

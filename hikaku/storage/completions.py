"""Recorded completions, found by the hash of all that determines them, and those being bought.

Jobs that read and write buy each completion once, whoever asks first. A claim on a hash is good as
long as the claim of its shard: who dies or goes loses both at once, and there is nothing to free.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import and_, delete, select, text
from sqlalchemy.orm import Session

from hikaku.jobs import Outcome
from hikaku.specs import SnapshotEndpoint
from hikaku.storage.tables import CellResult, InFlightCompletion, Job, RecordedCompletion

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A completion that was bought before."""

    outcome: Outcome
    completion: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None


class RequestHash:
    """Addresses the completions of one endpoint by what determines them: SHA-256, 32 bytes.

    The endpoint counts by its fingerprint (provider, model, settings), not by its name; the
    repeat counts, because repeats are asked for to see answers vary.
    """

    def __init__(self, endpoint: SnapshotEndpoint) -> None:
        params = endpoint.params.model_dump(exclude_none=True, mode="json")
        self._of_endpoint = hashlib.sha256(_encode([endpoint.fingerprint, params]))

    def of(self, messages: Sequence[tuple[str, str]], repeat: int) -> bytes:
        """Address the completion of rendered messages, as (role, content) pairs."""
        digest = self._of_endpoint.copy()
        digest.update(_encode([messages, repeat]))
        return digest.digest()


def find(session: Session, hashes: Sequence[bytes]) -> dict[bytes, Recorded]:
    """Read the recorded completions among these hashes."""
    if not hashes:
        return {}
    result = CellResult
    where = RecordedCompletion
    statement = (
        select(
            where.request_hash,
            result.outcome,
            result.completion,
            result.finish_reason,
            result.input_tokens,
            result.output_tokens,
            result.latency_ms,
        )
        .join(result, _IS_THERE)
        .where(where.request_hash.in_(hashes), result.completion.is_not(None))
    )
    return {
        bytes(found.request_hash): Recorded(
            outcome=Outcome(found.outcome),
            completion=found.completion or "",
            finish_reason=found.finish_reason,
            input_tokens=found.input_tokens,
            output_tokens=found.output_tokens,
            latency_ms=found.latency_ms,
        )
        for found in session.execute(statement)
    }


_IS_THERE = and_(
    CellResult.bucket == RecordedCompletion.bucket,
    CellResult.job_id == RecordedCompletion.job_id,
    CellResult.endpoint == RecordedCompletion.endpoint,
    CellResult.row == RecordedCompletion.row,
    CellResult.repeat == RecordedCompletion.repeat,
)


def known_of(session: Session, hashes: Sequence[bytes]) -> set[bytes]:
    """Tell which of these hashes have a recorded completion, without reading it."""
    statement = (
        select(RecordedCompletion.request_hash)
        .join(CellResult, _IS_THERE)
        .where(RecordedCompletion.request_hash.in_(hashes), CellResult.completion.is_not(None))
    )
    return {bytes(digest) for digest in session.scalars(statement)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How a cell of another job ended."""

    outcome: Outcome
    completion: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    error: str | None


def of_job(
    session: Session, job_id: str, endpoint: int, rows: Sequence[int]
) -> dict[tuple[int, int], Kept]:
    """Read how the cells of another job ended, by row and repeat."""
    result = CellResult
    statement = select(
        result.row,
        result.repeat,
        result.outcome,
        result.completion,
        result.finish_reason,
        result.input_tokens,
        result.output_tokens,
        result.latency_ms,
        result.error,
    ).where(
        result.bucket == select(Job.bucket).where(Job.id == job_id).scalar_subquery(),
        result.job_id == job_id,
        result.endpoint == endpoint,
        result.row.in_(rows),
    )
    return {
        (cell.row, cell.repeat): Kept(
            outcome=Outcome(cell.outcome),
            completion=cell.completion,
            finish_reason=cell.finish_reason,
            input_tokens=cell.input_tokens,
            output_tokens=cell.output_tokens,
            latency_ms=cell.latency_ms,
            error=cell.error,
        )
        for cell in session.execute(statement)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is to be done about some hashes; those in neither are being bought by others."""

    known: dict[bytes, Recorded]
    ours: set[bytes]
    """To be bought under this claim of a shard."""


_BUY = text("""
insert into in_flight_completion as c (request_hash, shard_id, epoch)
select hash, :shard, :epoch from unnest(cast(:hashes as bytea[])) as hash order by hash
    on conflict (request_hash) do update set shard_id = excluded.shard_id, epoch = excluded.epoch
 where (c.shard_id = excluded.shard_id and c.epoch <= excluded.epoch)
    or not exists (
       select from shard s join worker w on w.id = s.owner
        where s.id = c.shard_id and s.epoch = c.epoch and s.state = 'running'
          and w.lease_until > now())
returning request_hash
""")


def sort_out(session: Session, hashes: Sequence[bytes], shard_id: int, epoch: int) -> Found:
    """Find what is recorded, and claim what nobody alive is buying.

    In the order of the hashes, so of two that claim at once one waits for the other and no two for
    each other. Looked up again after the claim: its buyer may have recorded it just before.
    """
    known = find(session, hashes)
    unknown = [digest for digest in hashes if digest not in known]
    if not unknown:
        return Found(known=known, ours=set())
    claim = {"hashes": unknown, "shard": shard_id, "epoch": epoch}
    ours = {bytes(digest) for (digest,) in session.execute(_BUY, claim)}
    known |= find(session, unknown)
    return Found(known=known, ours=ours - known.keys())


_BOUGHT_BY_OTHERS = text("""
select c.request_hash from in_flight_completion c
  join shard s on s.id = c.shard_id and s.epoch = c.epoch and s.state = 'running'
  join worker w on w.id = s.owner and w.lease_until > now()
 where c.request_hash = any(cast(:hashes as bytea[]))
""")


def being_bought(session: Session, hashes: Sequence[bytes]) -> set[bytes]:
    """Tell which of these hashes somebody alive is buying, without claiming any."""
    found = session.execute(_BOUGHT_BY_OTHERS, {"hashes": list(hashes)})
    return {bytes(digest) for (digest,) in found}


def let_go(session: Session, shard_id: int, epoch: int) -> None:
    """Forget what a claim of a shard was buying; what a later one buys stays."""
    claim = InFlightCompletion
    session.execute(delete(claim).where(claim.shard_id == shard_id, claim.epoch <= epoch))


def forget_purchases(session: Session) -> None:
    """Remove the claims of shards that are not running any more."""
    session.execute(
        text(
            "delete from in_flight_completion c where not exists (select from shard s"
            " where s.id = c.shard_id and s.epoch = c.epoch and s.state = 'running')"
        )
    )

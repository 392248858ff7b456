"""Recorded completions, found by the hash of all that determines them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from hikaku.jobs import Outcome
from hikaku.specs import SnapshotEndpoint
from hikaku.storage.tables import CellResult, RecordedCompletion

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
        .join(
            result,
            and_(
                result.bucket == where.bucket,
                result.job_id == where.job_id,
                result.endpoint == where.endpoint,
                result.row == where.row,
                result.repeat == where.repeat,
            ),
        )
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

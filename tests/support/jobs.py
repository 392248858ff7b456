"""Stores jobs for tests without a gateway or a worker."""

from collections.abc import Sequence
from datetime import UTC, datetime

from hikaku.jobs import Attempt, AttemptOutcome, CellAddress, CellRecord, CellScore, Outcome
from hikaku.specs import EndpointIdentity, JobSpec
from hikaku.storage.connection import Sessions
from hikaku.submission import Submitted, submit

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def identities(*names: str) -> dict[str, EndpointIdentity]:
    return {
        name: EndpointIdentity(
            name=name,
            endpoint_type="llm/v1/chat",
            provider="echo",
            model=f"{name}-model",
            fingerprint=f"fingerprint-of-{name}",
        )
        for name in names
    }


def spec(**changes: object) -> JobSpec:
    given: dict[str, object] = {
        "prompt": {"template": "{{object}}は何色ですか?"},
        "rows": [{"object": "りんご", "expected": "赤"}, {"object": "空", "expected": "青"}],
        "endpoints": ["a", "b"],
        "scorers": [{"type": "contains"}],
    }
    return JobSpec.model_validate(given | changes)


def store(sessions: Sessions, job: JobSpec, endpoints: Sequence[str] = ("a", "b")) -> Submitted:
    with sessions.begin() as session:
        return submit(session, job, identities(*endpoints))


def record(
    job_id: str,
    shard_id: int,
    *,
    endpoint: int = 0,
    row: int = 0,
    round: int = 0,  # noqa: A002  # the column's name
    epoch: int = 1,
    outcome: Outcome = Outcome.OK,
    completion: str | None = "赤",
    score: float | None = 1.0,
) -> CellRecord:
    answered = outcome.is_answered
    attempt = AttemptOutcome.OK if answered else AttemptOutcome.PROVIDER_ERROR
    return CellRecord(
        address=CellAddress(
            job_id=job_id,
            bucket=0,
            endpoint=endpoint,
            row=row,
            repeat=0,
            round=round,
            shard_id=shard_id,
            epoch=epoch,
        ),
        outcome=outcome,
        recorded_at=NOW,
        completion=completion if answered else None,
        finish_reason="stop" if answered else None,
        input_tokens=7 if answered else None,
        output_tokens=2 if answered else None,
        latency_ms=12.5 if answered else None,
        error=None if answered else "Unavailable: gone",
        attempts=(
            Attempt(
                number=1,
                outcome=attempt,
                started_at=NOW,
                latency_ms=12.5,
                input_tokens=7 if answered else None,
                output_tokens=2 if answered else None,
            ),
        ),
        scores=(CellScore(scorer=0, value=score),) if answered else (),
    )

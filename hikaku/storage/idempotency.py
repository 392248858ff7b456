"""The first answer to a POST, kept in the transaction of the work it answers.

A repetition is told apart from a first request under an advisory lock that lives as long as the
transaction: whoever holds it is at work, and a crash releases it together with the work.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from hikaku.errors import Conflict, Fault, InvalidInput
from hikaku.storage.tables import IdempotencyKey

RETENTION = timedelta(days=3)
"""How long a repetition finds the first answer."""


class RequestInFlight(Conflict):
    """The first request with this key is still being answered."""

    code = "request_in_flight"


class KeyReused(InvalidInput):
    """The key was used before, for a request with another body."""

    code = "idempotency_key_reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What tells a repetition from a new request."""

    route: str
    """Method and path; the same key on another route is another request."""
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, as it was first given."""

    status: int
    body: dict[str, Any]


def claim(session: Session, route: str, key: str) -> None:
    """Hold the key until the transaction ends.

    Raises:
        RequestInFlight: Another transaction holds it.
    """
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{route} {key}", 0))
    if not session.scalar(select(lock)):
        raise RequestInFlight(
            f"the first request with Idempotency-Key {key!r} is still being answered; "
            "send it again in a moment"
        )


def recall(session: Session, ticket: Ticket) -> Answer | None:
    """Give the answer kept for this request, or None when it is new.

    Raises:
        KeyReused: The key was used for another body.
    """
    kept = session.get(IdempotencyKey, (ticket.route, ticket.key))
    if kept is None:
        return None
    if kept.request_hash != ticket.request_hash:
        message = f"Idempotency-Key {ticket.key!r} was used for another body; take a new key"
        fault = Fault(pointer="header Idempotency-Key", message=message)
        raise KeyReused(message, faults=[fault])
    return Answer(status=kept.status or 200, body=kept.body or {})


def is_known(session: Session, route: str, key: str) -> bool:
    """Whether an answer is kept for this key, whatever its body was."""
    return session.get(IdempotencyKey, (route, key)) is not None


def keep(session: Session, ticket: Ticket, answer: Answer) -> None:
    """Keep the answer; it is there if and only if the caller's transaction commits."""
    session.add(
        IdempotencyKey(
            route=ticket.route,
            key=ticket.key,
            request_hash=ticket.request_hash,
            status=answer.status,
            body=answer.body,
        )
    )


def forget(session: Session, *, older_than: timedelta = RETENTION) -> None:
    """Delete the answers nobody repeats any more."""
    old = IdempotencyKey.created_at < func.now() - older_than
    session.execute(delete(IdempotencyKey).where(old))

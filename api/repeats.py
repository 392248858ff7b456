"""`Idempotency-Key`: a POST that is sent again gets its first answer again."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from hikaku.storage import idempotency
from hikaku.storage.idempotency import Answer, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One request that may have been sent before; does nothing when it carries no key."""

    route: str
    key: str | None
    body_hash: bytes

    def recall(self, session: Session) -> Answer | None:
        """Give the first answer if there was one; else hold the key until the transaction ends.

        Raises:
            RequestInFlight: The first request is still at work.
            KeyReused: The key came with another body.
        """
        if self.key is None:
            return None
        idempotency.claim(session, self.route, self.key)
        return idempotency.recall(session, self._ticket(self.key, self.body_hash))

    def recall_stream(self, session: Session) -> bool:
        """Like `recall`, for a body whose hash is known only when it has been read.

        Returns:
            Whether an answer is kept: read the body for its hash, then call `replay_stream`.
        """
        if self.key is None:
            return False
        idempotency.claim(session, self.route, self.key)
        return idempotency.is_known(session, self.route, self.key)

    def replay_stream(self, session: Session, body_hash: bytes) -> Answer | None:
        """Give the first answer to this body."""
        if self.key is None:
            return None
        return idempotency.recall(session, self._ticket(self.key, body_hash))

    def keep(self, session: Session, answer: Answer, body_hash: bytes | None = None) -> None:
        """Keep the answer, in the transaction of the work it is the answer to."""
        if self.key is not None:
            ticket = self._ticket(self.key, body_hash or self.body_hash)
            idempotency.keep(session, ticket, answer)

    def _ticket(self, key: str, body_hash: bytes) -> Ticket:
        return Ticket(route=self.route, key=key, request_hash=body_hash)


_KeyHeader = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A name of your own for this request. Sent again with the same body, it gets "
        "the first answer again and no work is done twice; kept for three days.",
        examples=["nightly-2031-04-01"],
    ),
]


async def _once(request: Request, idempotency_key: _KeyHeader = None) -> Once:
    route = f"{request.method} {request.scope['path']}"
    return Once(
        route=route,
        key=idempotency_key,
        body_hash=hashlib.sha256(await request.body()).digest() if idempotency_key else b"",
    )


async def _once_stream(request: Request, idempotency_key: _KeyHeader = None) -> Once:
    query = request.scope["query_string"].decode("latin-1")
    route = f"{request.method} {request.scope['path']}?{query}"
    return Once(route=route, key=idempotency_key, body_hash=b"")


OnceDep = Annotated[Once, Depends(_once)]
OnceStreamDep = Annotated[Once, Depends(_once_stream)]


def respond(
    answer: Answer,
    *,
    location: str | None = None,
    replayed: bool = False,
    then: BackgroundTask | None = None,
) -> JSONResponse:
    """Send an answer, and do `then` when it is out; a replayed one says that it is."""
    headers = {} if location is None else {"location": location}
    if replayed:
        headers["idempotent-replayed"] = "true"
    return JSONResponse(answer.body, status_code=answer.status, headers=headers, background=then)

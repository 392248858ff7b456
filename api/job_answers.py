"""Answers of requests that make or change a job: the job as it is then, and where it is."""

from datetime import UTC, datetime
from http import HTTPStatus

from sqlalchemy.orm import Session
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse

from api.context import Context
from api.job_view import job_out
from api.repeats import respond
from api.wire import BASE
from hikaku.storage.idempotency import Answer


def answered(session: Session, context: Context, job_id: str, status: HTTPStatus) -> Answer:
    """Show a job inside the transaction that changed it."""
    session.flush()
    asked, now = session.connection(), datetime.now(UTC)
    body = job_out(asked, job_id, context.submissions, mlflow=context.mlflow, now=now)
    return Answer(status=status, body=body.model_dump(mode="json"))


def accepted(
    answer: Answer, *, replayed: bool = False, then: BackgroundTask | None = None
) -> JSONResponse:
    """Send such an answer, and do `then` when it is out."""
    location = f"{BASE}/jobs/{answer.body['id']}"
    return respond(answer, location=location, replayed=replayed, then=then)

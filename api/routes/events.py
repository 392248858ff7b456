"""What happens to a job, as it happens: Server-Sent Events."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import Header, Request
from pydantic import ConfigDict
from starlette.responses import Response, StreamingResponse

from api.context import Context
from api.dependencies import ContextDep
from api.errors import RequestRefusedError
from api.job_view import Moment, moment
from api.wire import JobId, Out, problems, resource
from hikaku.jobs import JobState
from hikaku.storage import standings

router = resource("/jobs", "jobs")

_LOOK_SECONDS = 0.5
"""Between two looks at the database; at most so many updates reach a reader."""

_PING_SECONDS = 15.0
"""Of silence, after which a comment keeps the line open."""

_STREAM = """retry: 2000

id: 41
event: state
data: {"state":"running","at":"2031-04-01T03:00:01.204Z"}

event: progress
data: {"state":"running","counts":{"total":120,"done":40},"rate_per_second":3.2,"eta_seconds":25.0}

: ping

id: 52
event: control
data: {"control":"pause","at":"2031-04-01T03:00:12.020Z"}

id: 58
event: state
data: {"state":"completed","at":"2031-04-01T03:00:38.911Z"}
"""


class StateEvent(Out):
    """The data of a `state` event."""

    state: JobState
    at: datetime


class ControlEvent(Out):
    """The data of a `control` event: what was asked of the job, and with what."""

    model_config = ConfigDict(extra="allow")

    control: str
    at: datetime


_KINDS: dict[str, type[StateEvent | ControlEvent]] = {
    "state": StateEvent,
    "control": ControlEvent,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One look at a job."""

    events: Sequence[tuple[int, str, StateEvent | ControlEvent]]
    moment: Moment


@router.get(
    "/{job_id}/events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "`state` and `control` events carry an id and are replayed after "
            "`Last-Event-ID`; "
            "`progress` events tell how far the job is. The stream ends after a final state.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM}},
        },
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
async def watch_job(
    job_id: JobId,
    request: Request,
    context: ContextDep,
    last_event_id: Annotated[
        str | None, Header(description="Number of the last event seen.", pattern=r"^\d{1,18}$")
    ] = None,
) -> Response:
    """Streams what happens to the job until it ends."""
    if context.streams.borrowed_tokens >= context.streams.total_tokens:
        raise RequestRefusedError(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            code="too_many_streams",
            detail="too many event streams are open; read the job every few seconds instead",
            headers={"retry-after": "5"},
        )
    after = int(last_event_id or 0)
    first = await to_thread.run_sync(partial(_look, context, job_id, after))
    return StreamingResponse(
        _stream(request, context, job_id, after, first),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _stream(
    request: Request, context: Context, job_id: str, after: int, seen: _Seen
) -> AsyncIterator[str]:
    async with context.streams:
        yield "retry: 2000\n\n"
        told: Moment | None = None
        spoke = time.monotonic()
        while True:
            # Progress first: a reader that sees the final state has seen the final counts.
            if seen.moment != told:
                told, spoke = seen.moment, time.monotonic()
                yield _event("progress", told)
            for seq, kind, event in seen.events:
                after, spoke = seq, time.monotonic()
                yield _event(kind, event, seq)
            if seen.moment.state.is_final or context.closing.is_set():
                return
            if time.monotonic() - spoke > _PING_SECONDS:
                spoke = time.monotonic()
                yield ": ping\n\n"
            await _pause(context)
            if await request.is_disconnected():
                return
            seen = await to_thread.run_sync(partial(_look, context, job_id, after))


async def _pause(context: Context) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(context.closing.wait(), _LOOK_SECONDS)


def _look(context: Context, job_id: str, after: int) -> _Seen:
    job = context.reader.read(lambda asked: standings.one(asked, job_id, after_seq=after))
    events = [
        (event.seq, event.kind, _KINDS[event.kind].model_validate(event.data | {"at": event.at}))
        for event in job.events or ()
        if event.kind in _KINDS
    ]
    return _Seen(events=events, moment=moment(job, datetime.now(UTC)))


def _event(name: str, data: Out, seq: int | None = None) -> str:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {name}\ndata: {data.model_dump_json()}\n\n"

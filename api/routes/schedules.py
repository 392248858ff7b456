"""Schedules: a cron line that submits a job, and what became of its slots."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import Field, model_validator
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from api.context import Context
from api.dependencies import ContextDep
from api.repeats import OnceDep, respond
from api.routes.endpoints import identities
from api.wire import (
    BASE,
    JOB_EXAMPLE,
    SCHEDULE_EXAMPLE,
    Limit,
    Out,
    Page,
    ScheduleCursor,
    ScheduleId,
    page,
    problems,
    resource,
    shown,
)
from hikaku import cron
from hikaku.errors import Fault, InvalidInput
from hikaku.names import Label
from hikaku.numbers import Moment, Switch
from hikaku.specs import Closed, JobSpec
from hikaku.storage import schedules
from hikaku.storage.idempotency import Answer
from hikaku.storage.tables import Schedule, Slot
from hikaku.submission import submit

router = resource("/schedules", "schedules")

MissedPolicy = Literal["skip", "run_latest"]
Cron = Annotated[str, Field(min_length=9, max_length=200, examples=["0 2 * * *"])]
TimeZone = Annotated[str, Field(min_length=1, max_length=64, examples=["Asia/Tokyo"])]
_SHOWN = 5

_NIGHTLY = {
    "name": "nightly colors",
    "cron": "0 2 * * *",
    "time_zone": "Asia/Tokyo",
    "missed_policy": "run_latest",
    "job": {
        "prompt": {"name": "color"},
        "dataset": {"name": "colors"},
        "endpoints": ["qwen-coder", "smollm"],
        "scorers": [{"type": "contains"}],
    },
}


class NewSchedule(Closed):
    """When to submit which job."""

    name: Label
    cron: Cron
    time_zone: TimeZone = "UTC"
    missed_policy: MissedPolicy = Field(
        default="skip", description="What happens to slots that passed while everything was off."
    )
    paused: Switch = False
    job: JobSpec = Field(description="Resolved anew at every slot: names mean the newest then.")


class ScheduleChange(Closed):
    """What to change; what is left out stays."""

    name: Label | None = None
    cron: Cron | None = None
    time_zone: TimeZone | None = None
    missed_policy: MissedPolicy | None = None
    paused: Switch | None = None
    job: JobSpec | None = None

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        nulls = sorted(name for name in self.model_fields_set if getattr(self, name) is None)
        if nulls:
            raise ValueError(f"{', '.join(nulls)} cannot be null; leave out what stays")
        return self


class SlotOut(Out):
    """One firing of a schedule."""

    fire_at: datetime
    state: Literal["fired", "missed", "failed"]
    job_id: str | None = Field(examples=[JOB_EXAMPLE])
    error: str | None


class ScheduleOut(Out):
    """A schedule, when it fires next and what became of its last slots."""

    id: str = Field(examples=[SCHEDULE_EXAMPLE])
    name: str
    cron: str
    time_zone: str
    missed_policy: MissedPolicy
    paused: bool
    job: JobSpec | dict[str, Any] = Field(
        union_mode="left_to_right",
        description="As it was given; one of an older version that is refused today, too.",
    )
    created_at: datetime
    next_fire_at: datetime | None = Field(description="null while it is paused.")
    next_fires: list[datetime]
    last_slots: list[SlotOut]


class ScheduleSummary(Out):
    """A schedule in a list."""

    id: str = Field(examples=[SCHEDULE_EXAMPLE])
    name: str
    cron: str
    time_zone: str
    missed_policy: MissedPolicy
    paused: bool
    job: dict[str, Any] = Field(
        description="The job without its inline rows; whole in `GET /schedules/{id}`."
    )
    n_rows: int | None = Field(description="Inline rows; null when it names a dataset.")
    created_at: datetime
    next_fire_at: datetime | None = Field(description="null while it is paused.")
    next_fires: list[datetime]
    last_slots: list[SlotOut]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Add a schedule",
    response_model=ScheduleOut,
    responses=problems(409),
    openapi_extra=shown(_NIGHTLY),
)
def add_schedule(new: NewSchedule, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Stores a schedule; its job is tried first, and one that could not be submitted is refused."""
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is not None:
            return _added(first, replayed=True)
        _rehearse(session, context, new.job)
        schedule = schedules.add(
            session,
            name=new.name,
            cron_line=new.cron,
            time_zone=new.time_zone,
            missed_policy=new.missed_policy,
            paused=new.paused,
            spec=_spec(new.job),
            now=schedules.clock(session),
        )
        body = _out(session, schedule).model_dump(mode="json")
        answer = Answer(status=HTTPStatus.CREATED, body=body)
        once.keep(session, answer)
    return _added(answer)


@router.get("", summary="List schedules")
def list_schedules(
    context: ContextDep, after: ScheduleCursor = None, limit: Limit = 50
) -> Page[ScheduleSummary]:
    """Gives schedules, newest first; their jobs without inline rows."""
    with context.sessions() as session:
        found = schedules.listing(session, after=after, limit=limit + 1)
        entries = [_summary(session, schedule) for schedule in found]
    return page(entries, limit, lambda schedule: schedule.id)


@router.get("/{schedule_id}", summary="Read a schedule", responses=problems(404))
def read_schedule(schedule_id: ScheduleId, context: ContextDep) -> ScheduleOut:
    """Gives one schedule."""
    with context.sessions() as session:
        return _out(session, schedules.get(session, schedule_id))


@router.patch(
    "/{schedule_id}",
    summary="Change a schedule",
    responses=problems(404, 409),
    openapi_extra=shown({"paused": True}, {"cron": "30 1 * * 1-5", "time_zone": "Asia/Tokyo"}),
)
def change_schedule(
    schedule_id: ScheduleId, change: ScheduleChange, context: ContextDep
) -> ScheduleOut:
    """Changes what is named. A new time or the end of a pause counts from now on."""
    changes: dict[str, Any] = change.model_dump(exclude_unset=True, exclude={"job"})
    with context.sessions.begin() as session:
        if change.job is not None:
            _rehearse(session, context, change.job)
            changes["spec"] = _spec(change.job)
        return _out(
            session, schedules.change(session, schedule_id, changes, now=schedules.clock(session))
        )


@router.delete(
    "/{schedule_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Remove a schedule",
    response_class=Response,
    responses=problems(404),
)
def remove_schedule(schedule_id: ScheduleId, context: ContextDep) -> Response:
    """Removes the schedule and its slots; the jobs it submitted stay."""
    with context.sessions.begin() as session:
        schedules.remove(session, schedule_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/{schedule_id}/slots", summary="Read slots", responses=problems(404))
def list_slots(
    schedule_id: ScheduleId,
    context: ContextDep,
    after: Annotated[Moment | None, Query(description="The `last_id` of the page before.")] = None,
    limit: Limit = 50,
) -> Page[SlotOut]:
    """Gives the slots that were decided, newest first."""
    with context.sessions() as session:
        schedules.get(session, schedule_id)
        found = schedules.slots(session, schedule_id, before=after, limit=limit + 1)
    return page([_slot(slot) for slot in found], limit, lambda slot: _written(slot.fire_at))


def _rehearse(session: Session, context: Context, spec: JobSpec) -> None:
    """Submit the job as if now, and take it back: a schedule that can only fail is refused."""
    if spec.deadline is not None:
        message = (
            "one instant cannot be the deadline of every slot: leave it out, each has 26 hours"
        )
        raise InvalidInput(message, faults=[Fault(pointer="/job/deadline", message=message)])
    trial = session.begin_nested()
    try:
        submit(session, spec, identities(context.gateway.catalog), slots=context.slots)
    except InvalidInput as error:
        inner = error.faults or (Fault(pointer="", message=str(error)),)
        faults = [Fault(pointer=f"/job{f.pointer}", message=f.message) for f in inner]
        raise InvalidInput(str(error), faults=faults) from error
    trial.rollback()


def _spec(job: JobSpec) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_unset=True)


def _added(answer: Answer, *, replayed: bool = False) -> JSONResponse:
    return respond(answer, location=f"{BASE}/schedules/{answer.body['id']}", replayed=replayed)


def _out(session: Session, schedule: Schedule) -> ScheduleOut:
    return ScheduleOut.model_validate({**_facts(session, schedule), "job": schedule.spec})


def _summary(session: Session, schedule: Schedule) -> ScheduleSummary:
    rows = schedule.spec.get("rows")
    return ScheduleSummary.model_validate(
        {
            **_facts(session, schedule),
            "job": {key: value for key, value in schedule.spec.items() if key != "rows"},
            "n_rows": None if rows is None else len(rows),
        }
    )


def _facts(session: Session, schedule: Schedule) -> dict[str, Any]:
    """Give what is shown of a schedule besides its job."""
    fires = cron.next_fires(schedule.cron, schedule.time_zone, schedules.clock(session), _SHOWN)
    last = schedules.slots(session, schedule.id, limit=_SHOWN)
    return {
        "id": schedule.id,
        "name": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "missed_policy": schedule.missed_policy,
        "paused": schedule.paused,
        "created_at": schedule.created_at,
        "next_fire_at": None if schedule.paused else schedule.next_fire_at,
        "next_fires": [] if schedule.paused else fires,
        "last_slots": [_slot(slot) for slot in last],
    }


def _slot(slot: Slot) -> SlotOut:
    return SlotOut.model_validate(
        {
            "fire_at": slot.fire_at.astimezone(UTC),
            "state": slot.state,
            "job_id": slot.job_id,
            "error": slot.error,
        }
    )


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")

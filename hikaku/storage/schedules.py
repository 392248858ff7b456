"""Schedules and their slots: a slot is decided once, in the transaction that decides it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from hikaku import cron, ids
from hikaku.errors import Conflict, NotFound
from hikaku.jobs import kept
from hikaku.storage.tables import Schedule, Slot

MissedPolicy = Literal["skip", "run_latest"]

MISSED_AFTER = timedelta(minutes=5)
"""A slot that is found this late was missed: everything was off, not just busy."""

MOST_MISSED = 1_000
"""Missed slots written down after a long outage; older ones are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """A slot that is due, and the job to submit for it."""

    schedule_id: str
    fire_at: datetime
    spec: dict[str, Any]


def add(
    session: Session,
    *,
    name: str,
    cron_line: str,
    time_zone: str,
    missed_policy: MissedPolicy,
    paused: bool,
    spec: dict[str, Any],
    now: datetime,
) -> Schedule:
    """Store a schedule; its first slot is the first after `now`.

    Raises:
        InvalidInput: The cron line or the time zone cannot be used.
        Conflict: The name is taken.
    """
    cron.check(cron_line, time_zone)
    schedule = Schedule(
        id=ids.new_id(ids.SCHEDULE),
        name=name,
        cron=cron_line,
        time_zone=time_zone,
        missed_policy=missed_policy,
        paused=paused,
        spec=spec,
        next_fire_at=cron.next_fires(cron_line, time_zone, now, 1)[0],
    )
    session.add(schedule)
    _flush_named(session, name)
    return schedule


def clock(session: Session) -> datetime:
    """Read the clock that slots are fired by: the database's, which is one for all machines."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def get(session: Session, schedule_id: str, *, lock: bool = False) -> Schedule:
    """Read a schedule.

    Raises:
        NotFound: There is none with this id.
    """
    try:
        schedule = session.get(Schedule, schedule_id, with_for_update=lock or None)
    except ValueError as error:
        raise NotFound(str(error)) from error
    if schedule is None:
        raise NotFound(f"there is no schedule {schedule_id}")
    return schedule


def listing(session: Session, *, after: str | None = None, limit: int = 50) -> list[Schedule]:
    """List schedules, newest first, from the one after `after`."""
    statement = select(Schedule).order_by(Schedule.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Schedule.id < after)
    return list(session.scalars(statement))


def change(
    session: Session, schedule_id: str, changes: dict[str, Any], *, now: datetime
) -> Schedule:
    """Change some of name, cron, time_zone, missed_policy, paused, spec.

    A new cron line or time zone, and the end of a pause, count from `now`: slots before it are
    not made up for.
    """
    schedule = get(session, schedule_id, lock=True)
    for field, value in changes.items():
        setattr(schedule, field, value)
    if changes.keys() & {"cron", "time_zone", "paused"}:
        cron.check(schedule.cron, schedule.time_zone)
        schedule.next_fire_at = cron.next_fires(schedule.cron, schedule.time_zone, now, 1)[0]
    _flush_named(session, schedule.name)
    return schedule


def remove(session: Session, schedule_id: str) -> None:
    """Remove a schedule and its slots; the jobs it submitted stay."""
    get(session, schedule_id, lock=True)
    session.execute(delete(Schedule).where(Schedule.id == schedule_id))


def slots(
    session: Session, schedule_id: str, *, before: datetime | None = None, limit: int = 50
) -> list[Slot]:
    """List the decided slots of a schedule, newest first."""
    statement = select(Slot).where(Slot.schedule_id == schedule_id)
    if before is not None:
        statement = statement.where(Slot.fire_at < before)
    return list(session.scalars(statement.order_by(Slot.fire_at.desc()).limit(limit)))


def fire_next(session: Session, submit: Callable[[Firing], str]) -> bool:
    """Decide the due slots of one schedule; any number of processes may do this at once.

    The slot, its job and the next slot are one transaction: whoever dies in it has done nothing.

    Args:
        session: The transaction.
        submit: Stores the job in the same transaction and gives its id.

    Returns:
        Whether there was a due schedule; call again until there is none.
    """
    schedule = session.scalar(
        select(Schedule)
        .where(~Schedule.paused, Schedule.next_fire_at <= func.clock_timestamp())
        .order_by(Schedule.next_fire_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if schedule is None:
        return False
    now = clock(session)
    due = cron.fires_between(schedule.cron, schedule.time_zone, schedule.next_fire_at, now)
    missed, latest = due[:-1], due[-1]
    if now - latest > MISSED_AFTER and schedule.missed_policy == "skip":
        missed = due
    _note(session, schedule.id, missed[-MOST_MISSED:])
    if latest not in missed:
        _fire(session, schedule, latest, submit)
    schedule.next_fire_at = cron.next_fires(schedule.cron, schedule.time_zone, now, 1)[0]
    session.flush()
    return True


def _note(session: Session, schedule_id: str, missed: Sequence[datetime]) -> None:
    if missed:
        lines = [{"schedule_id": schedule_id, "fire_at": at, "state": "missed"} for at in missed]
        session.execute(insert(Slot).on_conflict_do_nothing(), lines)


def _fire(
    session: Session, schedule: Schedule, at: datetime, submit: Callable[[Firing], str]
) -> None:
    slot = insert(Slot).values(schedule_id=schedule.id, fire_at=at, state="fired")
    taken = session.execute(slot.on_conflict_do_nothing().returning(Slot.fire_at)).one_or_none()
    if taken is None:
        return
    line = session.get_one(Slot, (schedule.id, at))
    try:
        with session.begin_nested():
            firing = Firing(schedule_id=schedule.id, fire_at=at, spec=schedule.spec)
            line.job_id = submit(firing)
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001  # a schedule that cannot run must not stop the others
        line.state, line.job_id, line.error = "failed", None, kept(str(error))


def _flush_named(session: Session, name: str) -> None:
    try:
        with session.begin_nested():
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"there is a schedule {name!r} already") from error

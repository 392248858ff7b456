"""Fires the slots that are due: each submits a job, exactly once, however many clocks run."""

import logging
from collections.abc import Callable, Mapping

from sqlalchemy.orm import Session

from hikaku.failpoints import Point, reach
from hikaku.jobs import Hint
from hikaku.queue import Queue
from hikaku.specs import EndpointIdentity, JobSpec
from hikaku.storage import schedules
from hikaku.storage.connection import Sessions
from hikaku.storage.schedules import Firing
from hikaku.submission import submit

log = logging.getLogger(__name__)

Endpoints = Callable[[], Mapping[str, EndpointIdentity]]
"""Gives the gateway's endpoints of this moment."""


def fire_due(sessions: Sessions, queue: Queue, endpoints: Endpoints) -> int:
    """Submit the jobs of all due slots; returns how many schedules were due."""
    fired = 0
    while _fire_one(sessions, queue, endpoints):
        fired += 1
    return fired


def _fire_one(sessions: Sessions, queue: Queue, endpoints: Endpoints) -> bool:
    hints: list[Hint] = []
    with sessions.begin() as session:
        was_due = schedules.fire_next(
            session, lambda firing: _submit(session, firing, endpoints(), hints)
        )
    queue.put_shards(hints)
    return was_due


def _submit(
    session: Session,
    firing: Firing,
    endpoints: Mapping[str, EndpointIdentity],
    hints: list[Hint],
) -> str:
    # One instant cannot be the deadline of every slot; kept ones are from before it was refused.
    spec = JobSpec.model_validate(firing.spec).model_copy(update={"deadline": None})
    submitted = submit(session, spec, endpoints)
    hints.extend(submitted.hints)
    reach(Point.IN_FIRE)
    log.info("slot fired", extra={"schedule": firing.schedule_id, "job": submitted.job_id})
    return submitted.job_id

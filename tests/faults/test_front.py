"""The API or the scheduler dies with a job, a slot or a dead worker's shard half in hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx2
from sqlalchemy import func, select, update

from hikaku.failpoints import Point
from hikaku.storage import schedules
from hikaku.storage.tables import Job, Schedule, Slot
from tests.support.arena import Arena, Member, fault_job
from tests.support.gateway_server import free_port
from tests.support.history import doubled_slots

CELLS = 60


@contextmanager
def front(place: Arena, failpoints: str = "") -> Iterator[tuple[Member, str]]:
    """Run an API process; gives it and its URL."""
    port = free_port()
    member = place.start("api", "api.main", failpoints=failpoints, HIKAKU_PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        place.wait(lambda: answers(f"{url}/ready"), "the API")
        yield member, url
    finally:
        place.expected_dead.add(member.name)
        member.process.kill()
        member.process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).is_success
    except httpx2.TransportError:
        return False


def post(url: str, job: dict[str, object], key: str) -> dict[str, object] | None:
    """Submit; None when the API died over it."""
    try:
        answer = httpx2.post(
            f"{url}/api/v1/jobs", json=job, headers={"idempotency-key": key}, timeout=30
        )
    except httpx2.TransportError:
        return None
    return dict(answer.raise_for_status().json())


def how_many(place: Arena) -> int:
    with place.sessions() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_an_api_that_dies_over_a_submission_leaves_one_whole_job_or_none(place):
    place.workers(1)
    job, key, before = fault_job(CELLS), "the-same", how_many(place)
    with front(place, f"{Point.IN_SUBMIT}:kill") as (dying, url):
        assert post(url, job, key) is None
        place.await_death(dying, Point.IN_SUBMIT)
    assert how_many(place) == before, "nothing is half done"
    with front(place, f"{Point.BEFORE_PUBLISH}:kill") as (dying, url):
        post(url, job, key)  # it may have answered before it died
        place.await_death(dying, Point.BEFORE_PUBLISH)
    assert how_many(place) == before + 1
    with front(place) as (_, url):
        again = post(url, job, key)
        assert again is not None
        assert how_many(place) == before + 1, "the same key is the same job"
        job_id = str(again["id"])
        assert place.finish(job_id).calls == CELLS, "the sweep published what the API could not"
        shown = httpx2.get(f"{url}/api/v1/jobs/{job_id}", timeout=10).json()
    assert (shown["calls"], shown["repeated_calls"]) == (CELLS, 0)


def test_schedulers_that_die_in_their_transactions_fire_each_slot_once(place):
    for member in place.living():
        if member.name.startswith("scheduler."):
            place.kill(member)
    before = how_many(place)
    made = due_schedules(place)
    place.await_death(place.armed(Point.IN_FIRE, 2, kind="scheduler"), Point.IN_FIRE)
    for _ in range(2):
        place.scheduler()
    place.wait(lambda: len(fired(place, made)) >= len(made), "the slots")
    time.sleep(1)  # a second firing would come now
    assert not doubled_slots(fired(place, made), jobs=how_many(place) - before)


def due_schedules(place: Arena) -> list[str]:
    """Make three schedules whose slot is due as soon as a scheduler looks."""
    now = datetime.now(UTC)
    with place.sessions.begin() as session:
        made = [
            schedules.add(
                session,
                name=f"毎日{number}",
                cron_line="0 3 * * *",
                time_zone="Asia/Tokyo",
                missed_policy="run_latest",
                paused=False,
                spec=fault_job(5),
                now=now,
            ).id
            for number in range(3)
        ]
        yesterday = now - timedelta(days=1)
        session.execute(
            update(Schedule).where(Schedule.id.in_(made)).values(next_fire_at=yesterday)
        )
    return made


def fired(place: Arena, made: list[str]) -> list[tuple[str, str, str | None]]:
    with place.sessions() as session:
        slots = session.scalars(
            select(Slot).where(Slot.schedule_id.in_(made), Slot.state == "fired")
        )
        return [(slot.schedule_id, slot.fire_at.isoformat(), slot.job_id) for slot in slots]


def test_a_job_is_closed_though_its_worker_and_then_its_scheduler_die_in_the_closing(place):
    place.no_workers()
    for member in place.living():
        place.kill(member)
    job = place.submit(CELLS)
    place.await_death(place.armed(Point.IN_CLOSE), Point.IN_CLOSE)
    place.await_death(place.armed(Point.IN_REAP, kind="scheduler"), Point.IN_REAP)
    place.scheduler()
    place.workers(1)
    place.finish(job)

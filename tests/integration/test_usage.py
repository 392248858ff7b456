"""What models were used for, from the gateway's note to the API's sums."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml
from sqlalchemy import func, select, text

from api.usage import UsageSink
from gateway.config import Catalog, parse
from gateway.errors import Outcome
from gateway.usage import UsageRecord
from hikaku.storage import usage
from hikaku.storage.connection import Sessions
from hikaku.storage.tables import Shard, UsageCall, UsageHour
from tests.support.database import hikaku_url, migrated_postgres, sessions
from tests.support.jobs import spec, store
from tests.support.services import postgres

__all__ = ["hikaku_url", "migrated_postgres", "postgres", "sessions"]

NOW = datetime.now(UTC).replace(microsecond=0)
PRICED = {
    "name": "paid",
    "endpoint_type": "llm/v1/chat",
    "model": {"provider": "echo", "name": "m"},
    "price": {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 2},
}


@pytest.fixture
def catalog() -> Catalog:
    return parse(yaml.safe_dump({"endpoints": [PRICED]}), {})


def record(number: int, **changes: Any) -> UsageRecord:
    given: dict[str, Any] = {
        "at": NOW.timestamp(),
        "request_id": f"r{number}",
        "caller": "key-1",
        "asked": "paid",
        "endpoint": "paid",
        "outcome": Outcome.OK,
        "status": None,
        "input_tokens": 1_000,
        "output_tokens": 500,
        "attempts": 1,
        "seconds": 0.5,
        "provider_seconds": 0.4,
        "first_byte_seconds": 0.4,
        "streamed": False,
        "cached": False,
    }
    return UsageRecord(**(given | changes))


def sink(sessions: Sessions, catalog: Catalog, days: int = 7) -> UsageSink:
    return UsageSink(sessions, lambda: catalog, days=days)


async def test_calls_are_summed_by_the_hour_and_kept_singly(sessions, catalog):
    one, other = sink(sessions, catalog), sink(sessions, catalog)
    await one.write([record(n) for n in range(30)])
    await other.write([record(n, caller=None, endpoint="free", attempts=2) for n in range(30, 40)])
    await one.write([record(40, outcome=Outcome.TIMEOUT, input_tokens=None, output_tokens=None)])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageHour)) == 3
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 41
        since, until = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
        paid, free = sorted(
            usage.used(session, since, until, "endpoint"), key=lambda u: u.group, reverse=True
        )
        callers = usage.used(session, since, until, "caller")
        days = usage.used(session, since, until, "day")
    assert (paid.group, paid.calls, paid.failed, paid.provider_calls) == ("paid", 31, 1, 31)
    assert (paid.input_tokens, paid.output_tokens) == (30_000, 15_000)
    assert (paid.cost_usd, paid.cost_unknown) == (Decimal("0.06"), 1)
    assert (free.calls, free.provider_calls, free.cost_unknown) == (10, 20, 10)
    assert [(one.group, one.calls) for one in callers] == [("", 10), ("key-1", 31)]
    assert sum(one.calls for one in days) == 41


async def test_an_answer_from_the_cache_costs_nothing(sessions, catalog):
    await sink(sessions, catalog).write([record(1, cached=True, attempts=0)])
    with sessions() as session:
        (hour,) = session.scalars(select(UsageHour)).all()
    assert (hour.cached, hour.cost_usd, hour.n_cost_unknown) == (1, 0, 0)


async def test_single_calls_are_dropped_by_the_day_and_sums_stay(sessions, catalog):
    old = (NOW - timedelta(days=20)).timestamp()
    await sink(sessions, catalog).write([record(1, at=old)])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 1
    await sink(sessions, catalog).write([record(2)])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 1
        assert session.scalar(select(func.sum(UsageHour.calls))) == 2


def test_partitions_are_opened_by_many_and_dropped_once(sessions):
    days = [date(2026, 1, day) for day in (1, 2, 3)]
    for _ in range(2):
        with sessions.begin() as session:
            usage.open_days(session, days)
    with sessions.begin() as session:
        assert usage.forget(session, before=date(2026, 1, 3)) == 2
        assert usage.forget(session, before=date(2026, 1, 3)) == 0


def test_calls_of_jobs_come_from_their_shards(sessions):
    submitted = store(sessions, spec())
    with sessions.begin() as session:
        session.execute(
            text("update shard set finished_at = now(), n_calls = n_cells + 1, n_timeout = 1")
        )
        cells = session.scalar(select(func.sum(Shard.n_cells))) or 0
        shards = session.scalar(select(func.count()).select_from(Shard)) or 0
    with sessions() as session:
        since, until = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
        by_endpoint = usage.used(session, since, until, "endpoint")
        (project,) = usage.used(session, since, until, "caller")
    assert submitted.job_id
    assert [one.group for one in by_endpoint] == ["a", "b"]
    assert project.group == "project:default"
    assert (project.calls, project.of_jobs) == (cells, cells)
    assert (project.provider_calls, project.failed) == (cells + shards, shards)

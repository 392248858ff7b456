"""What models were used for, from the gateway's note to the API's sums."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.usage import UsageSink
from gateway.config import Price
from gateway.errors import Outcome
from gateway.usage import Recorder, UsageRecord
from hikaku.storage import usage
from hikaku.storage.connection import Sessions
from hikaku.storage.tables import Shard, UsageCall, UsageHour, UsagePrice
from tests.support.database import hikaku_url, migrated_postgres, sessions
from tests.support.jobs import spec, store
from tests.support.services import postgres

__all__ = ["hikaku_url", "migrated_postgres", "postgres", "sessions"]

NOW = datetime.now(UTC).replace(microsecond=0)
PRICE = Price(input_usd_per_million_tokens=Decimal(1), output_usd_per_million_tokens=Decimal(2))


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
        "price": PRICE,
        "price_source": "gateway file",
    }
    return UsageRecord(**(given | changes))


def sink(sessions: Sessions) -> UsageSink:
    return UsageSink(sessions, days=7)


async def test_calls_are_summed_by_the_hour_and_kept_singly(sessions):
    one, other = sink(sessions), sink(sessions)
    await one.write([record(n) for n in range(30)])
    await other.write(
        [record(n, caller=None, endpoint="free", attempts=2, price=None) for n in range(30, 40)]
    )
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
    assert paid.known_cost_usd == Decimal("0.06")
    assert free.known_cost_usd is None
    assert [(one.group, one.calls) for one in callers] == [("", 10), ("key-1", 31)]
    assert sum(one.calls for one in days) == 41


async def test_a_batch_whose_commit_was_not_confirmed_is_counted_once(sessions):
    kept = sink(sessions)
    await kept.write([record(0)])  # The day's partition is open.
    unconfirmed: list[Session] = []

    def lose_the_answer(session: Session) -> None:
        if not unconfirmed:
            unconfirmed.append(session)
            raise OperationalError("COMMIT", None, Exception("the connection was lost"))

    event.listen(sessions, "after_commit", lose_the_answer)
    recorder = Recorder(kept)
    for number in range(1, 6):
        recorder.note(record(number))
    await recorder.stop()  # It could not be written, it seems: the records are kept ...
    for number in range(6, 9):
        recorder.note(record(number))
    await recorder.stop()  # ... and come again, with others.
    assert len(unconfirmed) == 1
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 9
        (hour,) = session.scalars(select(UsageHour)).all()
    assert (hour.calls, hour.input_tokens, hour.output_tokens) == (9, 9_000, 4_500)


async def test_an_answer_from_the_cache_costs_nothing(sessions):
    await sink(sessions).write([record(1, cached=True, attempts=0)])
    with sessions() as session:
        (hour,) = session.scalars(select(UsageHour)).all()
    assert (hour.cached, hour.cost_usd, hour.n_cost_unknown) == (1, 0, 0)


async def test_a_call_keeps_the_cost_of_its_time_when_prices_change(sessions):
    dearer = Price(
        input_usd_per_million_tokens=Decimal(10), output_usd_per_million_tokens=Decimal(20)
    )
    await sink(sessions).write([record(1)])
    await sink(sessions).write([record(2, price=dearer)])
    with sessions() as session:
        calls = session.execute(
            select(UsageCall.cost_usd, UsagePrice.source, UsagePrice.output_usd_per_million_tokens)
            .join(UsagePrice, UsagePrice.id == UsageCall.price_id)
            .order_by(UsageCall.request_id)
        ).all()
        (hour,) = session.scalars(select(UsageHour)).all()
    assert [tuple(call) for call in calls] == [
        (Decimal("0.002"), "gateway file", 2), (Decimal("0.02"), "gateway file", 20),
    ]  # fmt: skip
    assert hour.cost_usd == Decimal("0.022")


async def test_a_price_is_one_row_however_often_and_wherever_it_was_used(sessions):
    same = Price(
        input_usd_per_million_tokens=Decimal("1.0"), output_usd_per_million_tokens=Decimal("2.00")
    )
    one, other = sink(sessions), sink(sessions)
    await one.write([record(n) for n in range(5)] + [record(5, price=None)])
    await other.write([record(6, price=same), record(7, price_source="list 2026-11-22")])
    await other.write([record(8, price=Price())])
    with sessions() as session:
        used = session.execute(
            select(UsagePrice.source, func.count(UsageCall.request_id))
            .select_from(UsageCall)
            .join(UsagePrice, UsagePrice.id == UsageCall.price_id, isouter=True)
            .group_by(UsagePrice.id)
        ).all()
    assert sorted(tuple(row) for row in used if row[0]) == [
        ("gateway file", 1), ("gateway file", 6), ("list 2026-11-22", 1),
    ]  # fmt: skip
    assert [count for source, count in used if source is None] == [1]


async def test_counts_that_cannot_be_are_not_known_and_hold_nobody_up(sessions):
    await sink(sessions).write(
        [record(1, input_tokens=2**40), record(2, output_tokens=-5), record(3)]
    )
    with sessions() as session:
        found = session.execute(
            select(UsageCall.input_tokens, UsageCall.output_tokens, UsageCall.cost_usd).order_by(
                UsageCall.request_id
            )
        ).all()
        (hour,) = session.scalars(select(UsageHour)).all()
    assert [tuple(call) for call in found] == [
        (None, 500, None), (1_000, None, None), (1_000, 500, Decimal("0.002")),
    ]  # fmt: skip
    assert hour.n_cost_unknown == 2


async def test_single_calls_are_dropped_by_the_day_and_sums_stay(sessions):
    old = (NOW - timedelta(days=20)).timestamp()
    await sink(sessions).write([record(1, at=old)])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 1
    await sink(sessions).write([record(2)])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 1
        assert session.scalar(select(func.sum(UsageHour.calls))) == 2


async def test_a_clock_that_runs_ahead_makes_no_call_old(sessions):
    await sink(sessions).write([record(1)])
    await sink(sessions).write([record(2, at=record(2).at + timedelta(days=400).total_seconds())])
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(UsageCall)) == 2


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
        now = session.scalars(select(func.now())).one()
        since, until = now - timedelta(hours=1), now + timedelta(hours=1)
        by_endpoint = usage.used(session, since, until, "endpoint")
        (project,) = usage.used(session, since, until, "caller")
    assert submitted.job_id
    assert [one.group for one in by_endpoint] == ["a", "b"]
    assert project.group == "project:default"
    assert (project.calls, project.of_jobs) == (cells, cells)
    assert (project.provider_calls, project.failed) == (cells + shards, shards)
